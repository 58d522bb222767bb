//! A topology to tell: which scripted node owns which slots, in the words of CLUSTER SHARDS and CLUSTER SLOTS.

use crate::argv::frame;

/// One shard: a primary without replicas.
#[derive(Clone, Debug)]
pub struct Shard {
    /// `host:port`
    pub addr: String,
    /// First and last slot.
    pub slots: (u16, u16),
}

impl Shard {
    fn host(&self) -> &str {
        self.addr.rsplit_once(':').expect("host:port").0
    }

    fn port(&self) -> &str {
        self.addr.rsplit_once(':').expect("host:port").1
    }

    /// Forty hexadecimal digits, the same for the same address.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{:0>40}", self.port())
    }
}

/// The reply of CLUSTER SLOTS.
#[must_use]
pub fn cluster_slots(shards: &[Shard]) -> Vec<u8> {
    let mut reply = format!("*{}\r\n", shards.len());
    for shard in shards {
        let (first, last) = shard.slots;
        reply += &format!("*3\r\n:{first}\r\n:{last}\r\n*4\r\n");
        reply += &bulk(shard.host());
        reply += &format!(":{}\r\n{}*0\r\n", shard.port(), bulk(&shard.id()));
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
        reply += &format!("{}*1\r\n{}", bulk("nodes"), map(7));
        reply += &format!("{}{}", bulk("id"), bulk(&shard.id()));
        reply += &format!("{}:{}\r\n", bulk("port"), shard.port());
        for (name, value) in [("ip", shard.host()), ("endpoint", shard.host()), ("role", "master")] {
            reply += &format!("{}{}", bulk(name), bulk(value));
        }
        reply += &format!("{}:0\r\n", bulk("replication-offset"));
        reply += &format!("{}{}", bulk("health"), bulk("online"));
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
