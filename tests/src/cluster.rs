//! A real cluster: primaries and replicas on loopback, formed over RESP, and what an operator does to one.

use std::path::Path;
use std::time::Duration;

use slotway::cluster::slot::{SLOT_COUNT, Slot};

use crate::certs::{Authority, Issued};
use crate::poll::{eventually, try_eventually};
use crate::ports::Port;
use crate::raw::Raw;
use crate::server::{Kind, Server};
use crate::value::Value;

/// How long a cluster may take to agree. A fresh one needs two seconds: servers write nothing earlier
/// (CLUSTER_WRITABLE_DELAY).
const AGREE: Duration = Duration::from_secs(30);

/// How long a server tries a failover that it was asked for (CLUSTER_MF_TIMEOUT), and some.
const GIVES_UP: Duration = Duration::from_secs(6);

/// Milliseconds without a sign of life before a node counts as failed. Short, so that failovers are; long
/// beside what a busy machine of two cores holds a process up.
const NODE_TIMEOUT: &str = "3000";

/// Primaries first, then replicas: replica `i` follows primary `i % primaries`.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    primaries: usize,
}

/// A node and the bus port that it keeps.
#[derive(Debug)]
struct Node {
    server: Server,
    id: String,
    bus: Port,
    /// Where it speaks TLS, too.
    tls: Option<Port>,
}

impl Cluster {
    /// Three primaries of the usual server.
    #[must_use]
    pub fn start() -> Self {
        Self::with(Kind::usual(), 3, 0)
    }

    /// As many primaries, sharing the slots evenly, and replicas; ready when this returns.
    ///
    /// # Panics
    /// Where it does not become ready.
    #[track_caller]
    #[must_use]
    pub fn with(kind: Kind, primaries: usize, replicas: usize) -> Self {
        Self::of((0..primaries + replicas).map(|_| Node::launch(kind)).collect(), primaries)
    }

    /// The same, whose nodes speak TLS with each other, and with whoever shows a certificate of `authority`. They
    /// listen without TLS, too, for the tests.
    #[track_caller]
    #[must_use]
    pub fn over_tls(kind: Kind, primaries: usize, replicas: usize, authority: &Authority) -> Self {
        let certificate = authority.server("node", &["127.0.0.1", "node.internal"]);
        let launch = |_| Node::launch_tls(kind, authority, &certificate);
        Self::of((0..primaries + replicas).map(launch).collect(), primaries)
    }

    #[track_caller]
    fn of(nodes: Vec<Node>, primaries: usize) -> Self {
        let mut cluster = Self { nodes, primaries };
        cluster.introduce();
        cluster.share_slots();
        cluster.follow();
        cluster.wait_until_agreed();
        cluster
    }

    /// The node at `index`.
    #[must_use]
    pub fn node(&self, index: usize) -> &Server {
        &self.nodes[index].server
    }

    /// The node at `index`, to kill or restart.
    #[must_use]
    pub fn node_mut(&mut self, index: usize) -> &mut Server {
        &mut self.nodes[index].server
    }

    /// How many nodes there are, replicas included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node: never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// `redis://host:port` of each primary: what `--cluster` takes.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes[..self.primaries].iter().map(|node| format!("redis://{}", node.server.addr())).collect()
    }

    /// `rediss://host:port` of each primary that speaks TLS.
    #[must_use]
    pub fn tls_urls(&self) -> Vec<String> {
        let ports = self.nodes[..self.primaries].iter().filter_map(|node| node.tls.as_ref());
        ports.map(|port| format!("rediss://127.0.0.1:{}", port.number())).collect()
    }

    /// The index of the primary that served `slot` when the cluster was formed.
    #[must_use]
    pub fn first_owner(&self, slot: Slot) -> usize {
        (0..self.primaries).find(|&index| self.share(index).contains(&slot.number())).expect("all are shared")
    }

    /// A key, beginning with `name`, whose slot was given to primary `index`.
    #[must_use]
    pub fn key_on(&self, index: usize, name: &str) -> String {
        let keys = (0..).map(|number| format!("{name}:{number}"));
        let mut owned = keys.filter(|key| self.first_owner(Slot::of(key.as_bytes())) == index);
        owned.next().expect("every node owns a third of all keys")
    }

    /// Moves `slot` with its keys, live, as `redis-cli --cluster reshard` does.
    ///
    /// # Panics
    /// Where a node refuses a step.
    #[track_caller]
    pub fn move_slot(&self, slot: Slot, from: usize, to: usize) {
        let (source_id, target_id) = (&self.nodes[from].id, &self.nodes[to].id);
        let (mut source, mut target) = (self.node(from).client(), self.node(to).client());
        accepted(target.cmd(&format!("CLUSTER SETSLOT {slot} IMPORTING {source_id}")));
        accepted(source.cmd(&format!("CLUSTER SETSLOT {slot} MIGRATING {target_id}")));
        self.move_keys(slot, &mut source, to);
        accepted(target.cmd(&format!("CLUSTER SETSLOT {slot} NODE {target_id}")));
        accepted(source.cmd(&format!("CLUSTER SETSLOT {slot} NODE {target_id}")));
        for index in (0..self.primaries).filter(|&index| index != from && index != to) {
            // Only saves them a redirect: they learn it by gossip too.
            let _ = self.node(index).client().cmd(&format!("CLUSTER SETSLOT {slot} NODE {target_id}"));
        }
        // One that takes a slot without knowing the epoch of who had it loses it again.
        eventually("the source knows the target's epoch", AGREE, || {
            (epoch(&mut source) >= epoch(&mut target)).then_some(())
        });
    }

    /// Moves `slot` away from where it was at first and home again, `times`; `then` is called behind each move.
    ///
    /// # Panics
    /// Where a node refuses a step.
    #[track_caller]
    pub fn move_back_and_forth(&self, slot: Slot, times: usize, mut then: impl FnMut()) {
        let home = self.first_owner(slot);
        let away = (home + 1) % self.primaries;
        for (from, to) in [(home, away), (away, home)].repeat(times) {
            self.move_slot(slot, from, to);
            then();
        }
    }

    /// Adds a primary that serves no slot and has nothing; its index. [`Self::move_slot`] gives it slots.
    ///
    /// # Panics
    /// Where the others don't get to know it.
    #[track_caller]
    pub fn join(&mut self, kind: Kind) -> usize {
        let mut node = Node::launch(kind);
        node.server.wait_until_it_answers();
        let mut client = node.server.client();
        node.id = client.cmd("CLUSTER MYID").text();
        accepted(client.cmd(&format!("CLUSTER SET-CONFIG-EPOCH {}", self.nodes.len() + 1)));
        self.nodes.iter().for_each(|other| accepted(client.cmd(&other.meeting())));
        self.nodes.push(node);
        let knows_all = |node: &Node| {
            let text = node.server.client().cmd("CLUSTER NODES").text();
            let known = |other: &Node| {
                text.lines().any(|line| line.starts_with(&other.id) && !line.contains("handshake"))
            };
            let is_well = node.server.client().cmd("CLUSTER INFO").text().contains("cluster_state:ok");
            is_well && self.nodes.iter().all(known)
        };
        eventually("all know the new node", AGREE, || self.nodes.iter().all(knows_all).then_some(()));
        self.nodes.len() - 1
    }

    /// Makes replica `index` the primary of its shard, with the old primary's consent, and waits for it.
    ///
    /// Not twice the same node within twelve seconds (four node timeouts): Redis then takes the old election's
    /// votes for the new one's, and both primaries take themselves for it until one has given up.
    ///
    /// # Panics
    /// Where it does not become one.
    #[track_caller]
    pub fn fail_over_to(&self, index: usize) {
        let node = self.node(index);
        // Before all know that it follows its primary ignores it, or the others refuse it their votes: until it has
        // given up, clients wait for nothing.
        self.wait_until_agreed();
        self.wait_until_it_follows(index);
        let became_primary = || (node.info("role")? == "master").then_some(());
        let asked_for = (0..5).any(|_| {
            // Asked again only when the server has given its own attempt up (a lost election), which it does
            // without a word: each request starts over, and keeps the old primary's clients waiting.
            let _ = node.client().cmd("CLUSTER FAILOVER");
            try_eventually(GIVES_UP, became_primary).is_some()
        });
        assert!(asked_for, "node {index} does not become primary");
    }

    /// Waits until every node that answers says that all is well and tells the same slots.
    #[track_caller]
    pub fn wait_until_agreed(&self) {
        eventually("the cluster agrees", AGREE, || {
            let mut views = Vec::new();
            for node in &self.nodes {
                let mut client = Raw::try_connect(&node.server.addr()).ok()?;
                let info = client.try_call(&["CLUSTER", "INFO"]).ok()?.text();
                if !(info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")) {
                    return None;
                }
                views.push(slots_of(&client.try_call(&["CLUSTER", "SLOTS"]).ok()?, self.nodes.len())?);
            }
            views.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
        });
    }

    fn introduce(&mut self) {
        for (epoch, node) in self.nodes.iter_mut().enumerate() {
            node.server.wait_until_it_answers();
            let mut client = node.server.client();
            node.id = client.cmd("CLUSTER MYID").text();
            // Distinct from the start: else nodes first quarrel about it.
            accepted(client.cmd(&format!("CLUSTER SET-CONFIG-EPOCH {}", epoch + 1)));
        }
        let meetings: Vec<String> = self.nodes.iter().map(Node::meeting).collect();
        for (index, node) in self.nodes.iter().enumerate() {
            let mut client = node.server.client();
            // Everybody meets everybody: faster than waiting for gossip.
            for meeting in &meetings[..index] {
                accepted(client.cmd(meeting));
            }
        }
    }

    fn share_slots(&self) {
        for index in 0..self.primaries {
            let share = self.share(index);
            let add = format!("CLUSTER ADDSLOTSRANGE {} {}", share.start(), share.end());
            accepted(self.node(index).client().cmd(&add));
        }
    }

    fn follow(&self) {
        for index in self.primaries..self.nodes.len() {
            let primary = &self.nodes[index % self.primaries].id;
            let mut client = self.node(index).client();
            eventually("a replica knows its primary", AGREE, || {
                (!client.cmd(&format!("CLUSTER REPLICATE {primary}")).is_error()).then_some(())
            });
        }
        (self.primaries..self.nodes.len()).for_each(|index| self.wait_until_it_follows(index));
    }

    fn wait_until_it_follows(&self, index: usize) {
        // Only a replica has the field.
        eventually("a replica follows", AGREE, || {
            (self.node(index).info("master_link_status")? == "up").then_some(())
        });
    }

    fn share(&self, index: usize) -> std::ops::RangeInclusive<u16> {
        let bound = |index: usize| (usize::from(SLOT_COUNT) * index / self.primaries) as u16;
        bound(index)..=bound(index + 1) - 1
    }

    fn move_keys(&self, slot: Slot, source: &mut Raw, to: usize) {
        let port = self.node(to).port().to_string();
        loop {
            let keys = source.cmd(&format!("CLUSTER GETKEYSINSLOT {slot} 100"));
            let keys: Vec<String> = keys.items().iter().map(Value::text).collect();
            if keys.is_empty() {
                return;
            }
            let mut argv = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "10000", "KEYS"];
            argv.extend(keys.iter().map(String::as_str));
            accepted(source.call(&argv));
        }
    }
}

impl Node {
    fn launch(kind: Kind) -> Self {
        Self::launch_with(kind, &[], None)
    }

    fn launch_tls(kind: Kind, authority: &Authority, certificate: &Issued) -> Self {
        let port = Port::lease();
        let number = port.number().to_string();
        let file = |path: &Path| path.display().to_string();
        let (own, key) = (file(&certificate.certificate), file(&certificate.key));
        let authority = file(&authority.file);
        let settings = [
            ("tls-port", number.as_str()),
            ("tls-cert-file", own.as_str()),
            ("tls-key-file", key.as_str()),
            ("tls-ca-cert-file", authority.as_str()),
            ("tls-auth-clients", "yes"),
            ("tls-cluster", "yes"),
            ("tls-replication", "yes"),
        ];
        Self::launch_with(kind, &settings, Some(port))
    }

    fn launch_with(kind: Kind, more: &[(&str, &str)], tls: Option<Port>) -> Self {
        let bus = Port::lease();
        let bus_port = bus.number().to_string();
        let settings = [
            ("cluster-enabled", "yes"),
            ("cluster-config-file", "nodes.conf"),
            ("cluster-node-timeout", NODE_TIMEOUT),
            ("cluster-port", bus_port.as_str()),
            // Replicas are for failovers that tests ask for, and for lost primaries.
            ("cluster-allow-replica-migration", "no"),
            // A dead shard is that shard's matter.
            ("cluster-require-full-coverage", "no"),
        ];
        let settings: Vec<_> = settings.iter().chain(more).copied().collect();
        Self { server: Server::launch(kind, &settings), id: String::new(), bus, tls }
    }

    fn meeting(&self) -> String {
        format!("CLUSTER MEET 127.0.0.1 {} {}", self.server.port(), self.bus.number())
    }
}

/// What CLUSTER SLOTS says, in an order that does not depend on who says it; `None` where it does not yet
/// speak of all `nodes`.
fn slots_of(reply: &Value, nodes: usize) -> Option<Vec<(i64, i64, Vec<i64>)>> {
    let mut ranges: Vec<(i64, i64, Vec<i64>)> = Vec::new();
    for range in reply.items() {
        let [first, last, members @ ..] = range.items() else { return None };
        // The primary first, then replicas in any order.
        let mut ports: Vec<i64> = members.iter().map(|member| member.items()[1].int()).collect();
        ports[1..].sort_unstable();
        ranges.push((first.int(), last.int(), ports));
    }
    ranges.sort();
    let mut seen: Vec<i64> = ranges.iter().flat_map(|range| range.2.iter().copied()).collect();
    seen.sort_unstable();
    seen.dedup();
    (seen.len() == nodes).then_some(ranges)
}

#[track_caller]
fn accepted(reply: Value) {
    assert!(!reply.is_error(), "{reply:?}");
}

/// The highest epoch that a node knows.
fn epoch(node: &mut Raw) -> u64 {
    let info = node.cmd("CLUSTER INFO").text();
    let line = info.lines().find_map(|line| line.strip_prefix("cluster_current_epoch:"));
    line.and_then(|epoch| epoch.trim().parse().ok()).expect("every node says it")
}
