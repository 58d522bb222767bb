//! ◆ Free loopback ports for the nodes, and the address for clients.
#![expect(clippy::disallowed_types, reason = "I/O: binds ports to learn which are free")]

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use super::error::DevError;

/// A node's cluster bus listens at its port plus this: the servers' own rule, which `CLUSTER MEET` relies on.
const BUS_OFFSET: u16 = 10_000;

/// How many ports are looked at for each that is wanted.
const TRIES: usize = 50;

/// Where clients expect a server.
const USUAL_PORT: u16 = 6379;

/// `count` ports that are free at 127.0.0.1 together with their bus ports. Another program may still take one
/// before its node does; then that node says so and everything ends.
pub(super) fn free_node_ports(count: u16) -> Result<Vec<u16>, DevError> {
    let wanted = usize::from(count);
    // All stay bound until all are found, so that none is found twice.
    let mut bound = Vec::new();
    let mut ports = Vec::new();
    for _ in 0..wanted * TRIES {
        if ports.len() == wanted {
            break;
        }
        let listener = bind(0).map_err(DevError::System)?;
        let port = listener.local_addr().map_err(DevError::System)?.port();
        if let Some(Ok(bus)) = port.checked_add(BUS_OFFSET).map(bind) {
            ports.push(port);
            bound.push(bus);
        }
        bound.push(listener);
    }
    if ports.len() == wanted { Ok(ports) } else { Err(DevError::NoPorts { found: ports.len(), wanted }) }
}

/// The address for clients: the one asked for, with a free port for port 0, else the usual port if that is
/// free, else any. What is no address is returned as it is, for the settings to refuse.
pub(super) fn listen(asked: Option<&str>) -> Result<String, DevError> {
    let Some(asked) = asked else {
        let listener = bind(USUAL_PORT).or_else(|_| bind(0)).map_err(DevError::System)?;
        return Ok(listener.local_addr().map_err(DevError::System)?.to_string());
    };
    let Ok(address) = asked.parse::<SocketAddr>() else { return Ok(asked.to_owned()) };
    let bound = TcpListener::bind(address).and_then(|listener| listener.local_addr());
    bound
        .map(|address| address.to_string())
        .map_err(|source| DevError::Listen { address: asked.to_owned(), source })
}

fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_leave_room_for_the_bus() {
        let ports = free_node_ports(8).unwrap();
        let mut all: Vec<u16> = ports.iter().flat_map(|port| [*port, port + BUS_OFFSET]).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 16);
    }

    #[test]
    fn port_0_becomes_a_real_port_and_a_busy_one_an_error() {
        let address: SocketAddr = listen(Some("127.0.0.1:0")).unwrap().parse().unwrap();
        assert_ne!(address.port(), 0);
        let busy = bind(0).unwrap();
        let address = busy.local_addr().unwrap().to_string();
        assert!(matches!(listen(Some(&address)), Err(DevError::Listen { .. })));
        assert_eq!(listen(Some("nonsense")).unwrap(), "nonsense");
        assert!(listen(None).unwrap().starts_with("127.0.0.1:"));
    }
}
