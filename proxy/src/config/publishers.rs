//! `[fleet.rfc2136]`, `[fleet.files]` and `fleet.agent_check`: whom the plan is handed to.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use data_encoding::BASE64;

use super::settings::Secret;

/// Whom the plan is handed to; nobody where nothing is set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PublisherSettings {
    /// A DNS server that takes updates.
    pub rfc2136: Option<Rfc2136Settings>,
    /// Files that other DNS servers read.
    pub files: FileSettings,
    /// Where HAProxy's agent-checks are answered.
    pub agent_check: Option<SocketAddr>,
}

/// The primary server of a zone, and how it knows us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rfc2136Settings {
    /// Where it is: tried in this order, at least one.
    pub servers: Vec<NameServer>,
    /// The zone, without a dot at its end.
    pub zone: String,
    /// The name that is to resolve to entries, in the zone.
    pub name: String,
    /// What the key is called at the server.
    pub key_name: String,
    /// The key in base64.
    pub key: Secret,
    /// How messages are signed.
    pub algorithm: Algorithm,
    /// How long answers may be kept, and the shortest pause between two changes; whole seconds.
    pub ttl: Duration,
    /// How often the name is looked at, in case somebody else has changed it.
    pub verify_interval: Duration,
}

/// A DNS server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameServer {
    /// A name or an address.
    pub host: String,
    /// Its port, for TCP and UDP.
    pub port: u16,
}

/// How messages are signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Algorithm {
    /// What every server has.
    #[default]
    HmacSha256,
    /// With 384 bits.
    HmacSha384,
    /// With 512 bits.
    HmacSha512,
}

/// Files that other DNS servers read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileSettings {
    /// For gdnsd's plugin extfile.
    pub gdnsd: Option<PathBuf>,
    /// For CoreDNS's plugin loadbalance.
    pub coredns: Option<PathBuf>,
    /// A DNSEndpoint for ExternalDNS.
    pub dnsendpoint: Option<PathBuf>,
    /// The TTL that they tell, in whole seconds.
    pub ttl: Duration,
}

/// Short, so that clients follow; not so short that resolvers stretch it.
pub(super) const DEFAULT_TTL: Duration = Duration::from_secs(15);
/// Cheap for both sides, and soon enough for what happens by mistake.
pub(super) const DEFAULT_VERIFY: Duration = Duration::from_secs(15);

impl Default for FileSettings {
    fn default() -> Self {
        Self { gdnsd: None, coredns: None, dnsendpoint: None, ttl: DEFAULT_TTL }
    }
}

impl Algorithm {
    /// By the name that servers' settings have.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::HmacSha256, Self::HmacSha384, Self::HmacSha512]
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// See [`Self::named`].
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }
}

impl Rfc2136Settings {
    /// The key itself; `None` where it is not in base64.
    #[must_use]
    pub fn key_bytes(&self) -> Option<Vec<u8>> {
        key_bytes(&self.key)
    }
}

/// What a key in base64 says; `None` where it says nothing.
pub(super) fn key_bytes(key: &Secret) -> Option<Vec<u8>> {
    BASE64.decode(key.reveal().trim().as_bytes()).ok().filter(|key| !key.is_empty())
}

impl NameServer {
    /// A host and a port; 53 where none is given. An IPv6 address with a port has brackets.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Some(Self { host: address.ip().to_string(), port: address.port() });
        }
        if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>() {
            return Some(Self { host: address.to_string(), port: 53 });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)?),
            None => (text, 53),
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        super::tls::is_host(host).then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
impl Rfc2136Settings {
    /// Settings for tests, with this key in base64.
    pub(crate) fn sample(key: &str) -> Self {
        Self {
            servers: vec![NameServer { host: "127.0.0.1".to_owned(), port: 53 }],
            zone: "example.com".to_owned(),
            name: "redis.example.com".to_owned(),
            key_name: "slotway".to_owned(),
            key: Secret::new(key.to_owned()),
            algorithm: Algorithm::HmacSha256,
            ttl: DEFAULT_TTL,
            verify_interval: DEFAULT_VERIFY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_with_or_without_a_port() {
        let read = |text: &str| NameServer::parse(text).map(|server| server.to_string());
        for (text, expected) in [
            ("ns1.example.com", "ns1.example.com:53"),
            ("ns1:5353", "ns1:5353"),
            ("192.0.2.1", "192.0.2.1:53"),
            ("192.0.2.1:5300", "192.0.2.1:5300"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]:5300", "[2001:db8::1]:5300"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected));
        }
        for text in ["", "ns1:0", "ns1:x", "a b:53", "ns1:99999"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
