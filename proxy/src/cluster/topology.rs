//! Topology: what a node told us of its cluster (CLUSTER SHARDS since Redis 7, CLUSTER SLOTS before), as
//! [`Shard`]s in a stable order. Also the fixed topologies of servers that form no cluster.

use std::collections::HashMap;
use std::str;
use std::sync::Arc;

use super::slot::{SLOT_COUNT, Slot};
use super::slot_map::{Endpoint, Shard};
use crate::resp::value::{Value, ValueError};

/// Why a node's answer is no topology.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TopologyError {
    /// The answer is not a reply we can read.
    #[error("unreadable topology: {0}")]
    Malformed(#[from] ValueError),
    /// The node answered with an error.
    #[error("node refused to tell the topology: {0}")]
    Refused(String),
    /// A part of the answer has another shape than the command's documentation gives.
    #[error("topology without a proper {0}")]
    Shape(&'static str),
    /// A slot number of 16,384 or more, or below 0.
    #[error("slot {0} is out of range")]
    SlotOutOfRange(i64),
    /// A range whose last slot comes before its first.
    #[error("slot range {0}-{1} is reversed")]
    ReversedRange(u16, u16),
    /// A host that is not text, or too long for a host.
    #[error("bad host in topology")]
    BadHost,
    /// A port out of range.
    #[error("bad port in topology: {0}")]
    BadPort(i64),
    /// The node listens for TLS only.
    #[error("node has a tls-port only: rediss:// or cluster.tls.enabled")]
    TlsOnly,
    /// No node serves a slot: a cluster not formed yet.
    #[error("topology has no shard with slots")]
    NoShards,
    /// More shards than slots, or more nodes than a node index holds.
    #[error("topology of too many nodes")]
    TooManyNodes,
}

/// Reads the reply to CLUSTER SHARDS of a node that was reached at `asked_host`.
///
/// A node's `endpoint` is what the cluster wants clients to use (its own choice of address or host name);
/// none or an empty one means the host that was asked, with the node's port. Shards without slots are left
/// out, and so are those without a primary: servers that share no shard ids list a lone replica with its
/// primary's slots. Replicas count only while `online`. `over_tls`: the nodes' ports for TLS are wanted.
///
/// # Errors
/// Where the reply is an error, not of the documented shape, or names no shard with slots.
pub fn parse_shards(reply: &[u8], asked_host: &str, over_tls: bool) -> Result<Vec<Shard>, TopologyError> {
    let reply = Value::parse(reply)?;
    let mut shards = Vec::new();
    for shard in items(&reply, "list of shards")? {
        shards.extend(read_shard(shard, asked_host, over_tls)?);
    }
    in_order(shards)
}

/// Reads the reply to CLUSTER SLOTS of a node that was reached at `asked_host`, with the rules of
/// [`parse_shards`]. Ranges of one primary become one shard.
///
/// # Errors
/// As [`parse_shards`].
pub fn parse_slots(reply: &[u8], asked_host: &str) -> Result<Vec<Shard>, TopologyError> {
    let reply = Value::parse(reply)?;
    let mut shards: Vec<Shard> = Vec::new();
    for entry in items(&reply, "list of slot ranges")? {
        let [first, last, primary, replicas @ ..] = items(entry, "slot range")? else {
            return Err(TopologyError::Shape("slot range"));
        };
        let range = read_range(first, last)?;
        let primary = read_slots_node(primary, asked_host)?;
        let replicas = replicas.iter().map(|node| read_slots_node(node, asked_host));
        let replicas = replicas.collect::<Result<Vec<_>, _>>()?;
        shards.push(Shard { primary, replicas, slots: vec![range] });
    }
    in_order(join_by_primary(shards))
}

/// The topology of servers that form no cluster: the slots cut evenly among `endpoints`, in their order.
/// Of more servers than there are slots the rest are left out.
#[must_use]
pub fn static_map(endpoints: &[Endpoint]) -> Vec<Shard> {
    let endpoints = &endpoints[..endpoints.len().min(usize::from(SLOT_COUNT))];
    let cut = |index: usize| index * usize::from(SLOT_COUNT) / endpoints.len();
    let slot = |number: usize| u16::try_from(number).ok().and_then(Slot::new);
    let shards = endpoints.iter().enumerate().filter_map(|(index, endpoint)| {
        let slots = vec![(slot(cut(index))?, slot(cut(index + 1) - 1)?)];
        Some(Shard { primary: endpoint.clone(), replicas: Vec::new(), slots })
    });
    shards.collect()
}

/// How many slots `shards` serve; one that two shards claim counts once.
#[must_use]
pub fn served_slots(shards: &[Shard]) -> u16 {
    let mut served = vec![false; usize::from(SLOT_COUNT)];
    for (first, last) in shards.iter().flat_map(|shard| &shard.slots) {
        served[usize::from(first.number())..=usize::from(last.number())].fill(true);
    }
    served.iter().map(|&served| u16::from(served)).sum()
}

/// `None` for a shard that serves nothing or has no primary.
fn read_shard(shard: &Value<'_>, asked_host: &str, over_tls: bool) -> Result<Option<Shard>, TopologyError> {
    let bounds = items(shard.field("slots").unwrap_or(&Value::Null), "list of slots")?;
    if bounds.len() % 2 != 0 {
        return Err(TopologyError::Shape("slot range"));
    }
    let slots = bounds.chunks_exact(2).map(|pair| read_range(&pair[0], &pair[1]));
    let slots = slots.collect::<Result<Vec<_>, _>>()?;
    let nodes = items(shard.field("nodes").unwrap_or(&Value::Null), "list of nodes")?;
    let (primaries, replicas): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| has(node, "role", "master"));
    // After a failover the old primary stays listed as one until it is back: the one that lives and got
    // furthest is the shard's.
    let primary = primaries.into_iter().max_by_key(|node| {
        let offset = node.field("replication-offset").and_then(Value::integer).unwrap_or(0);
        (has(node, "health", "online"), offset)
    });
    let Some(primary) = primary.filter(|_| !slots.is_empty()) else { return Ok(None) };
    let primary = read_shards_node(primary, asked_host, over_tls)?;
    let replicas = replicas.into_iter().filter(|node| has(node, "health", "online"));
    let replicas =
        replicas.map(|node| read_shards_node(node, asked_host, over_tls)).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Shard { primary, replicas, slots }))
}

/// A node says both of its ports. Over TLS one that does not know of any is behind something that has it in its place.
fn read_shards_node(node: &Value<'_>, asked_host: &str, over_tls: bool) -> Result<Endpoint, TopologyError> {
    let port = |field| node.field(field).and_then(Value::integer);
    let port = match (port("port"), port("tls-port").filter(|&port| port != 0)) {
        (_, tls @ Some(_)) if over_tls => read_port(tls)?,
        (None | Some(0), Some(_)) => return Err(TopologyError::TlsOnly),
        (port, _) => read_port(port)?,
    };
    let endpoint = node.field("endpoint").unwrap_or(&Value::Null);
    Ok(Endpoint { host: read_host(endpoint, node.field("ip"), asked_host)?, port })
}

/// `[preferred endpoint, port, id, metadata]`, the last two only of newer servers.
fn read_slots_node(node: &Value<'_>, asked_host: &str) -> Result<Endpoint, TopologyError> {
    let [endpoint, port, more @ ..] = items(node, "node")? else {
        return Err(TopologyError::Shape("node"));
    };
    let address = more.get(1).and_then(|metadata| metadata.field("ip"));
    Ok(Endpoint { host: read_host(endpoint, address, asked_host)?, port: read_port(port.integer())? })
}

/// `?` says that the cluster wants host names and the node has none: its address will do.
fn read_host(
    endpoint: &Value<'_>,
    address: Option<&Value<'_>>,
    asked_host: &str,
) -> Result<Arc<str>, TopologyError> {
    let host = match endpoint {
        Value::Null => b"",
        Value::Text(b"?") => address.and_then(Value::text).unwrap_or_default(),
        Value::Text(host) => host,
        _ => return Err(TopologyError::BadHost),
    };
    if host.is_empty() || host == b"?" {
        return Ok(asked_host.into());
    }
    // 253: the longest DNS name.
    let plain = host.len() <= 253 && host.iter().all(u8::is_ascii_graphic);
    let host = str::from_utf8(host).ok().filter(|_| plain).ok_or(TopologyError::BadHost)?;
    Ok(host.into())
}

fn read_port(port: Option<i64>) -> Result<u16, TopologyError> {
    let port = port.ok_or(TopologyError::Shape("port"))?;
    u16::try_from(port).ok().filter(|&port| port > 0).ok_or(TopologyError::BadPort(port))
}

fn read_range(first: &Value<'_>, last: &Value<'_>) -> Result<(Slot, Slot), TopologyError> {
    let (first, last) = (read_slot(first)?, read_slot(last)?);
    if first > last {
        return Err(TopologyError::ReversedRange(first.number(), last.number()));
    }
    Ok((first, last))
}

fn read_slot(value: &Value<'_>) -> Result<Slot, TopologyError> {
    let number = value.integer().ok_or(TopologyError::Shape("slot"))?;
    u16::try_from(number).ok().and_then(Slot::new).ok_or(TopologyError::SlotOutOfRange(number))
}

fn items<'v, 'a>(value: &'v Value<'a>, what: &'static str) -> Result<&'v [Value<'a>], TopologyError> {
    match value {
        Value::List(items) => Ok(items),
        Value::Error(text) => Err(TopologyError::Refused(printable(text))),
        _ => Err(TopologyError::Shape(what)),
    }
}

fn has(node: &Value<'_>, field: &str, text: &str) -> bool {
    node.field(field).and_then(Value::text) == Some(text.as_bytes())
}

/// A server's error text, fit for a log line.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(200)]).replace(char::is_control, " ")
}

/// Keeps the order in which primaries first appear.
fn join_by_primary(ranges: Vec<Shard>) -> Vec<Shard> {
    let mut place = HashMap::new();
    let mut shards: Vec<Shard> = Vec::new();
    for range in ranges {
        let index = *place.entry(range.primary.clone()).or_insert(shards.len());
        if let Some(shard) = shards.get_mut(index) {
            shard.slots.extend(range.slots);
            shard.replicas.extend(range.replicas);
        } else {
            shards.push(range);
        }
    }
    shards
}

/// The same cluster always gives the same value: shards by their first slot, then endpoint; ranges and
/// replicas sorted, neighbouring ranges joined.
fn in_order(mut shards: Vec<Shard>) -> Result<Vec<Shard>, TopologyError> {
    for shard in &mut shards {
        shard.replicas.sort_unstable();
        shard.replicas.dedup();
        shard.slots.sort_unstable();
        shard.slots.dedup_by(|next, range| {
            let joins = next.0.number() <= range.1.number() + 1;
            if joins {
                range.1 = range.1.max(next.1);
            }
            joins
        });
    }
    shards.sort_by(|a, b| (a.slots.first(), &a.primary).cmp(&(b.slots.first(), &b.primary)));
    let nodes: usize = shards.iter().map(|shard| 1 + shard.replicas.len()).sum();
    if shards.is_empty() {
        return Err(TopologyError::NoShards);
    }
    if shards.len() > usize::from(SLOT_COUNT) || nodes >= usize::from(u16::MAX) {
        return Err(TopologyError::TooManyNodes);
    }
    Ok(shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Taken from the wire: six nodes, one replica of each server's cluster was killed before.
    const REDIS_SHARDS_2: &[u8] = include_bytes!("fixtures/redis-7.0.shards.resp2");
    const REDIS_SHARDS_3: &[u8] = include_bytes!("fixtures/redis-7.0.shards.resp3");
    const REDIS_SLOTS_2: &[u8] = include_bytes!("fixtures/redis-7.0.slots.resp2");
    const REDIS_SLOTS_3: &[u8] = include_bytes!("fixtures/redis-7.0.slots.resp3");
    // cluster-preferred-endpoint-type hostname.
    const VALKEY_SHARDS_2: &[u8] = include_bytes!("fixtures/valkey-9.1.shards.resp2");
    const VALKEY_SHARDS_3: &[u8] = include_bytes!("fixtures/valkey-9.1.shards.resp3");
    const VALKEY_SLOTS_2: &[u8] = include_bytes!("fixtures/valkey-9.1.slots.resp2");
    const VALKEY_SLOTS_3: &[u8] = include_bytes!("fixtures/valkey-9.1.slots.resp3");
    // cluster-preferred-endpoint-type unknown-endpoint; taken before the replicas were through loading.
    const UNKNOWN_SHARDS_2: &[u8] = include_bytes!("fixtures/redis-7.0-unknown.shards.resp2");
    const UNKNOWN_SHARDS_3: &[u8] = include_bytes!("fixtures/redis-7.0-unknown.shards.resp3");
    const UNKNOWN_SLOTS_2: &[u8] = include_bytes!("fixtures/redis-7.0-unknown.slots.resp2");
    const UNKNOWN_SLOTS_3: &[u8] = include_bytes!("fixtures/redis-7.0-unknown.slots.resp3");
    // A node that met no other.
    const FRESH_SHARDS_2: &[u8] = include_bytes!("fixtures/redis-7.0-fresh.shards.resp2");
    const FRESH_SHARDS_3: &[u8] = include_bytes!("fixtures/redis-7.0-fresh.shards.resp3");
    const FRESH_SLOTS_2: &[u8] = include_bytes!("fixtures/redis-7.0-fresh.slots.resp2");

    fn shard(primary: (&str, u16), replicas: &[(&str, u16)], slots: &[(u16, u16)]) -> Shard {
        let endpoint = |&(host, port): &(&str, u16)| Endpoint { host: host.into(), port };
        let slot = |number| Slot::new(number).unwrap();
        Shard {
            primary: endpoint(&primary),
            replicas: replicas.iter().map(endpoint).collect(),
            slots: slots.iter().map(|&(first, last)| (slot(first), slot(last))).collect(),
        }
    }

    #[test]
    fn redis_tells_the_same_by_either_command_and_protocol() {
        let host = "127.0.0.1";
        let expected = vec![
            shard((host, 21000), &[(host, 21003)], &[(0, 5460)]),
            shard((host, 21001), &[], &[(5461, 10922)]),
            shard((host, 21002), &[(host, 21005)], &[(10923, 16383)]),
        ];
        for reply in [REDIS_SHARDS_2, REDIS_SHARDS_3] {
            assert_eq!(parse_shards(reply, "seed", false), Ok(expected.clone()));
        }
        for reply in [REDIS_SLOTS_2, REDIS_SLOTS_3] {
            assert_eq!(parse_slots(reply, "seed"), Ok(expected.clone()));
        }
        assert_eq!(served_slots(&expected), SLOT_COUNT);
    }

    #[test]
    fn the_clusters_choice_of_host_names_is_followed() {
        let expected = vec![
            shard(("node0.example", 21100), &[("node5.example", 21105)], &[(0, 5460)]),
            shard(("node1.example", 21101), &[("node3.example", 21103)], &[(5461, 10922)]),
            shard(("node2.example", 21102), &[], &[(10923, 16383)]),
        ];
        for reply in [VALKEY_SHARDS_2, VALKEY_SHARDS_3] {
            assert_eq!(parse_shards(reply, "seed", false), Ok(expected.clone()));
        }
        for reply in [VALKEY_SLOTS_2, VALKEY_SLOTS_3] {
            assert_eq!(parse_slots(reply, "seed"), Ok(expected.clone()));
        }
    }

    #[test]
    fn an_unknown_endpoint_is_the_host_that_was_asked() {
        let primaries = |shards: Result<Vec<Shard>, TopologyError>| {
            shards.unwrap().iter().map(|shard| shard.primary.to_string()).collect::<Vec<_>>()
        };
        let expected = ["seed:21200", "seed:21201", "seed:21202"];
        assert_eq!(primaries(parse_shards(UNKNOWN_SHARDS_2, "seed", false)), expected);
        assert_eq!(primaries(parse_shards(UNKNOWN_SHARDS_3, "seed", false)), expected);
        assert_eq!(primaries(parse_slots(UNKNOWN_SLOTS_2, "seed")), expected);
        assert_eq!(primaries(parse_slots(UNKNOWN_SLOTS_3, "seed")), expected);
        assert!(parse_shards(UNKNOWN_SHARDS_2, "seed", false).unwrap()[0].replicas.is_empty(), "loading");
    }

    #[test]
    fn a_question_mark_is_replaced_by_the_address() {
        let reply =
            b"*1\r\n*3\r\n:0\r\n:1\r\n*4\r\n$1\r\n?\r\n:7\r\n$2\r\nid\r\n*2\r\n$2\r\nip\r\n$7\r\n1.2.3.4\r\n";
        assert_eq!(parse_slots(reply, "seed"), Ok(vec![shard(("1.2.3.4", 7), &[], &[(0, 1)])]));
        let reply = b"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\n?\r\n:7\r\n";
        assert_eq!(parse_slots(reply, "seed"), Ok(vec![shard(("seed", 7), &[], &[(0, 1)])]));
    }

    #[test]
    fn a_cluster_without_slots_is_no_topology() {
        for reply in [FRESH_SHARDS_2, FRESH_SHARDS_3] {
            assert_eq!(parse_shards(reply, "seed", false), Err(TopologyError::NoShards));
        }
        assert_eq!(parse_slots(FRESH_SLOTS_2, "seed"), Err(TopologyError::NoShards));
    }

    #[test]
    fn ranges_of_one_primary_become_one_shard() {
        let node = "*2\r\n$1\r\nh\r\n:7\r\n";
        let other = "*2\r\n$1\r\nh\r\n:8\r\n";
        let reply = format!(
            "*4\r\n*3\r\n:9\r\n:9\r\n{node}*3\r\n:4\r\n:5\r\n{other}*3\r\n:2\r\n:3\r\n{node}*3\r\n:0\r\n:1\r\n{node}"
        );
        let expected = vec![shard(("h", 7), &[], &[(0, 3), (9, 9)]), shard(("h", 8), &[], &[(4, 5)])];
        assert_eq!(parse_slots(reply.as_bytes(), "seed"), Ok(expected));
    }

    #[test]
    fn impossible_slots_are_refused_by_name() {
        let with = |first: &str, last: &str| {
            let reply = format!("*1\r\n*3\r\n{first}\r\n{last}\r\n*2\r\n$1\r\nh\r\n:7\r\n");
            parse_slots(reply.as_bytes(), "seed").unwrap_err()
        };
        assert_eq!(with(":0", ":16384"), TopologyError::SlotOutOfRange(16384));
        assert_eq!(with(":-1", ":5"), TopologyError::SlotOutOfRange(-1));
        assert_eq!(with(":6", ":5"), TopologyError::ReversedRange(6, 5));
        assert_eq!(with("_", ":5"), TopologyError::Shape("slot"));
    }

    fn shards_reply(nodes: &[&str]) -> String {
        let nodes: String = nodes
            .iter()
            .map(|node| {
                let words: Vec<&str> = node.split(' ').collect();
                let body: String = words.iter().map(|word| format!("+{word}\r\n")).collect();
                format!("*{}\r\n{body}", words.len())
            })
            .collect();
        format!("*1\r\n*4\r\n+slots\r\n*2\r\n:0\r\n:5\r\n+nodes\r\n{nodes}")
    }

    fn shards_of(nodes: &[&str]) -> Result<Vec<Shard>, TopologyError> {
        let reply = shards_reply(nodes).replace("+nodes\r\n", &format!("+nodes\r\n*{}\r\n", nodes.len()));
        parse_shards(reply.as_bytes(), "seed", false)
    }

    #[test]
    fn of_two_primaries_the_living_one_counts() {
        let dead = "role master health fail endpoint a port 1 replication-offset 900";
        let lives = "role master health online endpoint b port 2 replication-offset 800";
        assert_eq!(shards_of(&[dead, lives]), Ok(vec![shard(("b", 2), &[], &[(0, 5)])]));
        assert_eq!(shards_of(&[lives, dead]), Ok(vec![shard(("b", 2), &[], &[(0, 5)])]));
        assert_eq!(shards_of(&[dead]), Ok(vec![shard(("a", 1), &[], &[(0, 5)])]), "still the owner");
    }

    #[test]
    fn a_shard_of_replicas_only_is_left_out() {
        assert_eq!(
            shards_of(&["role replica health online endpoint a port 1"]),
            Err(TopologyError::NoShards)
        );
    }

    #[test]
    fn nodes_that_cannot_be_reached_are_refused_by_name() {
        assert_eq!(shards_of(&["role master endpoint a tls-port 1"]), Err(TopologyError::TlsOnly));
        assert_eq!(shards_of(&["role master endpoint a port 0"]), Err(TopologyError::BadPort(0)));
        assert_eq!(shards_of(&["role master endpoint a port 65536"]), Err(TopologyError::BadPort(65536)));
        assert_eq!(shards_of(&["role master endpoint a"]), Err(TopologyError::Shape("port")));
        assert_eq!(shards_of(&["role master endpoint \u{fc} port 1"]), Err(TopologyError::BadHost));
    }

    #[test]
    fn an_error_reply_keeps_its_text() {
        let refused = TopologyError::Refused("ERR This instance has cluster support disabled".into());
        let reply = b"-ERR This instance has cluster support disabled\r\n";
        assert_eq!(parse_shards(reply, "seed", false), Err(refused.clone()));
        assert_eq!(parse_slots(reply, "seed"), Err(refused));
    }

    #[test]
    fn no_cut_or_flipped_byte_panics() {
        for reply in [REDIS_SHARDS_3, VALKEY_SHARDS_2, VALKEY_SLOTS_3] {
            for at in 0..reply.len() {
                let mut flipped = reply.to_vec();
                flipped[at] ^= 0x11;
                let _ = (parse_shards(&flipped, "seed", false), parse_slots(&flipped, "seed"));
                assert!(parse_shards(&reply[..at], "seed", true).is_err());
                assert!(parse_slots(&reply[..at], "seed").is_err());
            }
        }
    }

    #[test]
    fn static_shards_share_the_slots_evenly_in_order() {
        let endpoints: Vec<Endpoint> = (1..=3).map(|port| Endpoint { host: "h".into(), port }).collect();
        let expected = vec![
            shard(("h", 1), &[], &[(0, 5460)]),
            shard(("h", 2), &[], &[(5461, 10921)]),
            shard(("h", 3), &[], &[(10922, 16383)]),
        ];
        assert_eq!(static_map(&endpoints), expected);
        assert_eq!(static_map(&endpoints[..1])[0].slots, shard(("h", 1), &[], &[(0, 16383)]).slots);
        assert!(static_map(&[]).is_empty());
    }
}
