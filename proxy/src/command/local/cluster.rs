//! CLUSTER: the proxy shows itself as a cluster of one node that owns every slot, so that clients that
//! insist on a cluster work too and send everything here.

use std::fmt;
use std::net::SocketAddr;

use crate::cluster::slot::{SLOT_COUNT, Slot};
use crate::command::spec::Spec;
use crate::resp::reply_writer::ReplyWriter;
use crate::resp::request::Request;

/// A node's id, shown as 40 hexadecimal digits. Also its shard's id, since it is alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeId(pub [u8; 20]);

/// The one node that clients see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnNode {
    /// Chosen once a process; random, or the same for every proxy of a fleet.
    pub id: NodeId,
    /// Where clients reach the proxy: the address that this client came to.
    pub address: SocketAddr,
}

/// Answers a command whose treatment is [`Local::Cluster`](crate::command::spec::Local::Cluster) and whose
/// number of arguments was checked.
pub fn answer(spec: &Spec, request: &Request<'_>, node: &OwnNode, reply: &mut ReplyWriter<'_>) {
    match &*spec.name {
        "cluster|info" => reply.verbatim(&info()),
        "cluster|nodes" => reply.verbatim(&node.line()),
        "cluster|slots" => slots(node, reply),
        "cluster|shards" => shards(node, reply),
        "cluster|keyslot" => reply.integer(Slot::of(request.arg(2).unwrap_or_default()).number().into()),
        "cluster|myid" | "cluster|myshardid" => reply.bulk(node.id.to_string()),
        "cluster|replicas" | "cluster|slaves" => replicas(request, node, reply),
        "cluster|links" => reply.array(0),
        "cluster|help" => help(reply),
        _ => reply.error("ERR unknown subcommand. Try CLUSTER HELP."),
    }
}

fn info() -> String {
    let head = format!(
        "cluster_state:ok\r\ncluster_slots_assigned:{SLOT_COUNT}\r\ncluster_slots_ok:{SLOT_COUNT}\r\n"
    );
    head + "cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:1\r\ncluster_size:1\r\n\
            cluster_current_epoch:1\r\ncluster_my_epoch:1\r\ncluster_stats_messages_sent:0\r\n\
            cluster_stats_messages_received:0\r\ntotal_cluster_links_buffer_limit_exceeded:0\r\n"
}

fn slots(node: &OwnNode, reply: &mut ReplyWriter<'_>) {
    reply.array(1);
    reply.array(3);
    all_slots(reply);
    reply.array(4);
    reply.bulk(node.address.ip().to_string());
    reply.integer(node.address.port().into());
    reply.bulk(node.id.to_string());
    reply.map(0);
}

fn shards(node: &OwnNode, reply: &mut ReplyWriter<'_>) {
    let ip = node.address.ip().to_string();
    reply.array(1);
    reply.map(2);
    reply.bulk("slots");
    reply.array(2);
    all_slots(reply);
    reply.bulk("nodes");
    reply.array(1);
    reply.map(7);
    reply.bulk("id");
    reply.bulk(node.id.to_string());
    reply.bulk("port");
    reply.integer(node.address.port().into());
    for (name, value) in [("ip", &*ip), ("endpoint", &*ip), ("role", "master")] {
        reply.bulk(name);
        reply.bulk(value);
    }
    reply.bulk("replication-offset");
    reply.integer(0);
    reply.bulk("health");
    reply.bulk("online");
}

fn all_slots(reply: &mut ReplyWriter<'_>) {
    reply.integer(0);
    reply.integer((SLOT_COUNT - 1).into());
}

/// The node has no replicas; another node there is none.
fn replicas(request: &Request<'_>, node: &OwnNode, reply: &mut ReplyWriter<'_>) {
    if request.arg(2) == Some(node.id.to_string().as_bytes()) {
        reply.array(0);
    } else {
        reply.error("ERR Unknown node");
    }
}

fn help(reply: &mut ReplyWriter<'_>) {
    reply.array(HELP.len());
    for line in HELP {
        reply.simple(line);
    }
}

const HELP: &[&str] = &[
    "CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "INFO",
    "    Return information about the cluster: the proxy as its only node.",
    "KEYSLOT <key>",
    "    Return the hash slot for <key>.",
    "LINKS",
    "    Return no links: there is no other node.",
    "MYID",
    "    Return the node id.",
    "MYSHARDID",
    "    Return the shard id.",
    "NODES",
    "    Return the cluster as this node sees it.",
    "REPLICAS <node-id>",
    "    Return no replicas.",
    "SHARDS",
    "    Return the one shard with its slots and node.",
    "SLOTS",
    "    Return the one slot range with its node.",
    "HELP",
    "    Print this help.",
];

impl OwnNode {
    /// The line of CLUSTER NODES. The port of the cluster bus is 0: there is none.
    fn line(&self) -> String {
        let (id, ip, port) = (self.id, self.address.ip(), self.address.port());
        format!("{id} {ip}:{port}@0 myself,master - 0 0 1 connected 0-{}\n", SLOT_COUNT - 1)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::local::tests::answered;
    use crate::command::spec::{Local, Treatment};
    use crate::command::table::Table;
    use crate::resp::protocol::Protocol::{self, Resp2, Resp3};

    const ID: &str = "ab00000000000000000000000000000000000001";

    fn reply(protocol: Protocol, line: &str) -> String {
        let mut id = [0; 20];
        (id[0], id[19]) = (0xab, 1);
        let node = OwnNode { id: NodeId(id), address: "10.0.0.1:6379".parse().unwrap() };
        answered(protocol, line, |_, spec, request, reply| answer(spec, &request, &node, reply))
    }

    #[test]
    fn slots_and_shards_show_one_node_with_every_slot() {
        assert_eq!(
            reply(Resp2, "CLUSTER SLOTS"),
            format!("*1 *3 :0 :16383 *4 $8 10.0.0.1 :6379 $40 {ID} *0 ")
        );
        assert_eq!(
            reply(Resp3, "CLUSTER SHARDS"),
            format!(
                "*1 %2 $5 slots *2 :0 :16383 $5 nodes *1 %7 $2 id $40 {ID} $4 port :6379 $2 ip $8 10.0.0.1 \
                 $8 endpoint $8 10.0.0.1 $4 role $6 master $18 replication-offset :0 $6 health $6 online "
            )
        );
        let line = format!("{ID} 10.0.0.1:6379@0 myself,master - 0 0 1 connected 0-16383\n");
        assert_eq!(reply(Resp2, "CLUSTER NODES"), format!("${} {line} ", line.len()));
    }

    #[test]
    fn the_small_questions_are_answered() {
        assert_eq!(reply(Resp2, "CLUSTER KEYSLOT foo"), ":12182 ");
        assert_eq!(reply(Resp2, "cluster myid"), format!("$40 {ID} "));
        assert_eq!(reply(Resp2, &format!("CLUSTER REPLICAS {ID}")), "*0 ");
        assert_eq!(reply(Resp2, "CLUSTER REPLICAS abc"), "-ERR Unknown node ");
        assert!(reply(Resp3, "CLUSTER INFO").contains("txt:cluster_state:ok cluster_slots_assigned:16384 "));
    }

    #[test]
    fn every_local_row_is_answered() {
        for row in Table::builtin().iter().filter(|row| row.treatment == Treatment::Local(Local::Cluster)) {
            if row.is_subcommand() {
                let text = reply(Resp3, &row.name.replace('|', " "));
                assert!(!text.starts_with("-ERR unknown"), "{}: {text}", row.name);
            }
        }
    }
}
