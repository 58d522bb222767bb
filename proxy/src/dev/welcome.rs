//! What `slotway dev` prints once everything runs: what there is and how to connect to it.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use slotway::config::settings::Settings;

use super::error::DevError;
use super::node::Nodes;
use crate::cli::DevFlags;

/// The text, as `Display`.
pub(super) struct Welcome {
    /// Where the proxy can be reached from this machine.
    pub(super) proxy: SocketAddr,
    admin: Option<SocketAddr>,
    primaries: usize,
    replicas: usize,
    server: String,
    ports: Vec<u16>,
}

impl Welcome {
    /// Tells of the proxy with `settings` in front of `nodes`.
    pub(super) fn new(settings: &Settings, nodes: &Nodes, flags: &DevFlags) -> Result<Self, DevError> {
        let proxy = settings.listen.first().copied().map(reachable).ok_or(DevError::ProxyGone)?;
        Ok(Self {
            proxy,
            admin: settings.admin.map(reachable),
            primaries: usize::from(flags.nodes),
            replicas: usize::from(flags.nodes * flags.replicas),
            server: nodes.title.clone(),
            ports: nodes.ports().collect(),
        })
    }
}

/// A proxy that listens everywhere is reached at the loopback address.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}

impl fmt::Display for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ip, port) = (self.proxy.ip(), self.proxy.port());
        let ports = self.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" ");
        writeln!(f, "\nSlotway serves a cluster of {} at one address.\n", self.server)?;
        writeln!(f, "  proxy   {}", self.proxy)?;
        if let Some(admin) = self.admin {
            writeln!(f, "  admin   http://{admin}/metrics")?;
        }
        writeln!(f, "  nodes   {} primaries, {} replicas, ports {ports}", self.primaries, self.replicas)?;
        writeln!(f, "\nTry it from another terminal:\n")?;
        writeln!(f, "  redis-cli -h {ip} -p {port}")?;
        writeln!(f, "  python3 -c 'import redis; print(redis.Redis(\"{ip}\", {port}).incr(\"visits\"))'")?;
        write!(f, "\nCtrl-C ends it and removes everything.\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_shown_can_be_connected_to() {
        let shown = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(shown("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(shown("[::]:1"), "[::1]:1");
        assert_eq!(shown("10.0.0.1:1"), "10.0.0.1:1");
    }

    #[test]
    fn it_says_how_to_connect() {
        let welcome = Welcome {
            proxy: "127.0.0.1:6379".parse().unwrap(),
            admin: Some("127.0.0.1:9".parse().unwrap()),
            primaries: 3,
            replicas: 0,
            server: "redis-server 7.0.15".to_owned(),
            ports: vec![40_001, 40_002, 40_003],
        };
        let said = welcome.to_string();
        for part in [
            "redis-cli -h 127.0.0.1 -p 6379",
            "redis.Redis(\"127.0.0.1\", 6379)",
            "http://127.0.0.1:9/metrics",
            "3 primaries, 0 replicas, ports 40001 40002 40003",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }
}
