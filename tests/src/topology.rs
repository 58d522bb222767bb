//! A topology to tell: which scripted node owns which slots, in the words of CLUSTER SHARDS and CLUSTER SLOTS.

use crate::argv::frame;

/// One shard.
#[derive(Clone, Debug)]
pub struct Shard {
    /// The primary's `host:port`.
    pub addr: String,
    /// The same of each replica.
    pub replicas: Vec<String>,
    /// First and last slot.
    pub slots: (u16, u16),
}

impl Shard {
    /// Its nodes with their roles, the primary first.
    fn nodes(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let replicas = self.replicas.iter().map(|addr| (addr.as_str(), "replica"));
        std::iter::once((self.addr.as_str(), "master")).chain(replicas)
    }
}

fn host_and_port(addr: &str) -> (&str, &str) {
    addr.rsplit_once(':').expect("host:port")
}

/// Forty hexadecimal digits, the same for the same address.
fn id(addr: &str) -> String {
    format!("{:0>40}", host_and_port(addr).1)
}

/// The reply of CLUSTER SLOTS.
#[must_use]
pub fn cluster_slots(shards: &[Shard]) -> Vec<u8> {
    let mut reply = format!("*{}\r\n", shards.len());
    for shard in shards {
        let (first, last) = shard.slots;
        reply += &format!("*{}\r\n:{first}\r\n:{last}\r\n", 3 + shard.replicas.len());
        for (addr, _) in shard.nodes() {
            let (host, port) = host_and_port(addr);
            reply += &format!("*4\r\n{}:{port}\r\n{}*0\r\n", bulk(host), bulk(&id(addr)));
        }
    }
    reply.into_bytes()
}

/// The reply of CLUSTER SHARDS, in the given protocol.
#[must_use]
pub fn cluster_shards(shards: &[Shard], protocol: u8) -> Vec<u8> {
    let map =
        |pairs: usize| if protocol == 3 { format!("%{pairs}\r\n") } else { format!("*{}\r\n", 2 * pairs) };
    let mut reply = format!("*{}\r\n", shards.len());
    for shard in shards {
        let (first, last) = shard.slots;
        reply += &map(2);
        reply += &format!("{}*2\r\n:{first}\r\n:{last}\r\n", bulk("slots"));
        reply += &format!("{}*{}\r\n", bulk("nodes"), 1 + shard.replicas.len());
        for (addr, role) in shard.nodes() {
            let (host, port) = host_and_port(addr);
            reply += &format!("{}{}{}", map(7), bulk("id"), bulk(&id(addr)));
            reply += &format!("{}:{port}\r\n", bulk("port"));
            for (name, value) in [("ip", host), ("endpoint", host), ("role", role)] {
                reply += &format!("{}{}", bulk(name), bulk(value));
            }
            reply += &format!("{}:0\r\n", bulk("replication-offset"));
            reply += &format!("{}{}", bulk("health"), bulk("online"));
        }
    }
    reply.into_bytes()
}

/// The reply of HELLO, in the protocol it agrees on.
#[must_use]
pub fn hello(protocol: u8) -> Vec<u8> {
    let open = if protocol == 3 { "%7\r\n" } else { "*14\r\n" };
    let mut reply = open.to_owned();
    for (name, value) in [("server", "redis"), ("version", "7.0.15"), ("mode", "cluster"), ("role", "master")]
    {
        reply += &format!("{}{}", bulk(name), bulk(value));
    }
    reply += &format!("{}:{protocol}\r\n{}:1\r\n{}*0\r\n", bulk("proto"), bulk("id"), bulk("modules"));
    reply.into_bytes()
}

/// A bulk string.
#[must_use]
pub fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// An array of bulk strings.
#[must_use]
pub fn bulks(texts: &[&str]) -> Vec<u8> {
    frame(texts)
}
