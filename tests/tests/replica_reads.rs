//! Reads from replicas: they get there, nothing else does, a replica that is not well costs no read, and is read
//! from again once it is well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use slotway::cluster::slot::Slot;
use slotway_tests::cluster::Cluster;
use slotway_tests::fake::{Action, Fake, Received, Script};
use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::server::{Kind, Server};
use slotway_tests::topology::bulk;
use slotway_tests::value::Value;

const FROM_REPLICAS: &str = "cluster.read_from=replica";

/// Of fakes: short, so that a replica's silence is.
const DEADLINE: &str = "cluster.command_timeout=2s";

/// Generous: what is waited for comes within some rounds of the watch, one second each, or an election.
const SOON: Duration = Duration::from_secs(60);

// One cluster for both: it takes longer to form than they do.
#[test]
fn reads_reach_replicas_that_are_well_and_nothing_else_does() {
    let mut cluster = Cluster::with(Kind::usual(), 3, 3);
    let proxy = Options::cluster(&cluster.urls()).set(&[FROM_REPLICAS, "cluster.command_timeout=4s"]).start();
    only_reads_reach_replicas(&cluster, &proxy);
    a_replica_that_is_not_well_costs_no_read_and_is_read_from_again_once_it_is(&mut cluster, &proxy);
    no_key_is_missed_while_its_slot_moves(&cluster, &proxy);
}

fn only_reads_reach_replicas(cluster: &Cluster, proxy: &Proxy) {
    let mut client = Raw::speaking(&proxy.addr(), 3);
    let keys: Vec<String> = (0..3).map(|index| cluster.key_on(index, "key")).collect();
    fill(cluster, &mut client, &keys);
    for (index, key) in keys.iter().enumerate() {
        until_read_from(cluster.node(3 + index), &mut client, key);
    }
    let (before, sent) = (commands_of(cluster), proxy.metric("reads_to_replicas"));

    for key in &keys {
        assert_eq!(client.cmd(&format!("GET {key}")).text(), *key);
        assert_eq!(client.cmd(&format!("HGETALL {{{key}}}h")).items().len(), 4);
        assert_eq!(client.cmd(&format!("XREAD STREAMS {{{key}}}x 0")).items().len(), 2);
        assert_eq!(client.cmd(&format!("ZRANGE {{{key}}}z 0 -1 WITHSCORES")).items().len(), 1);
    }
    let all = keys.join(" ");
    assert_eq!(client.cmd(&format!("MGET {all}")).items().len(), 3);
    assert_eq!(client.cmd(&format!("EXISTS {all}")).int(), 3);
    assert_eq!(proxy.metric("reads_to_replicas") - sent, 3 * 4 + 3 + 3);
    let after = commands_of(cluster);
    for name in ["get", "hgetall", "xread", "zrange", "mget", "exists"] {
        for node in 0..6 {
            let calls = after[node].calls(name) - before[node].calls(name);
            assert_eq!(calls, u64::from(node >= 3), "{name} at node {node}");
        }
    }

    only_the_primary_is_asked(cluster, proxy, &mut client, &keys[0]);
    let mut resp2 = proxy.client();
    assert_eq!(resp2.cmd("READONLY").text(), "OK");
    until_read_from(cluster.node(3), &mut resp2, &keys[0]);
    // Whatever else had been sent to a replica, it would have redirected.
    assert_eq!((proxy.metric("redirects_moved"), proxy.metric("reads_retried")), (0, 0));
}

/// Writes, scripts, transactions, cursors, and what a client that watches or tracks reads.
fn only_the_primary_is_asked(cluster: &Cluster, proxy: &Proxy, client: &mut Raw, key: &str) {
    let before = commands_of(cluster);
    let sent = proxy.metric("reads_to_replicas");
    for line in [
        format!("INCR {{{key}}}n"),
        format!("EVAL \"return redis.call('GET', KEYS[1])\" 1 {key}"),
        format!("EVAL_RO \"return redis.call('GET', KEYS[1])\" 1 {key}"),
        "MULTI".into(),
        format!("GET {key}"),
        "EXEC".into(),
        format!("WATCH {key}"),
        format!("GET {key}"),
        "UNWATCH".into(),
        format!("HSCAN {{{key}}}h 0"),
        format!("TOUCH {key}"),
        format!("LPUSH {{{key}}}l 1"),
        format!("BLPOP {{{key}}}l 1"),
        format!("XREAD BLOCK 1000 STREAMS {{{key}}}x 0"),
        "DBSIZE".into(),
        "CLIENT TRACKING ON".into(),
        format!("GET {key}"),
        "CLIENT TRACKING OFF".into(),
    ] {
        let reply = client.cmd(&line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
    }
    assert_eq!(proxy.metric("reads_to_replicas"), sent);
    let after = commands_of(cluster);
    for name in ["get", "eval", "eval_ro", "exec", "hscan", "touch", "xread", "dbsize"] {
        assert!(after[0].calls(name) > before[0].calls(name), "{name} at the primary");
        assert_eq!(after[3].calls(name), before[3].calls(name), "{name} at the replica");
    }
}

fn a_replica_that_is_not_well_costs_no_read_and_is_read_from_again_once_it_is(
    cluster: &mut Cluster,
    proxy: &Proxy,
) {
    let (key, mut client) = (cluster.key_on(0, "key"), proxy.client());
    client.cmd(&format!("SET {key} first"));
    until_read_from(cluster.node(3), &mut client, &key);
    let readers = Readers::start(proxy, &key, 4);

    cluster.node(3).freeze();
    readers.go_on();
    cluster.node(3).thaw();
    until_read_from(cluster.node(3), &mut client, &key);

    cluster.node_mut(3).kill();
    readers.go_on();
    cluster.node_mut(3).restart();
    until_read_from(cluster.node(3), &mut client, &key);

    // It still answers, but nobody tells it anything: old data, and no word of it.
    let mut primary = cluster.node(0).client();
    for line in ["ACL SETUSER default -psync -sync", "CLIENT KILL TYPE replica"] {
        assert!(!primary.cmd(line).is_error(), "{line}");
    }
    eventually("the link is down", SOON, || (proxy.metric("replicas_unlinked") > 0).then_some(()));
    readers.until_none_at(cluster.node(3));
    assert_eq!(client.cmd(&format!("SET {key} second")).text(), "OK");
    for _ in 0..20 {
        assert_eq!(proxy.client().cmd(&format!("GET {key}")).text(), "second");
    }
    // Not SYNC: a replica that is refused PSYNC and may then say SYNC is never told what is written after its copy.
    assert!(!primary.cmd("ACL SETUSER default +psync").is_error());
    until_read_from(cluster.node(3), &mut client, &key);
    assert_eq!(client.cmd(&format!("GET {key}")).text(), "second");
    assert_eq!(readers.stop(), Vec::<String>::new(), "no read failed");
}

/// A replica of Redis does not know that a slot moves: of a key that has gone it says that there is none.
fn no_key_is_missed_while_its_slot_moves(cluster: &Cluster, proxy: &Proxy) {
    let (first, key, mut client) = (cluster.key_on(0, "first"), cluster.key_on(0, "moves"), proxy.client());
    let second = cluster.key_on(0, "second");
    for key in [&first, &second, &key] {
        assert_eq!(client.cmd(&format!("SET {key} value")).text(), "OK");
    }
    until_read_from(cluster.node(3), &mut client, &key);
    cluster.move_slot(Slot::of(first.as_bytes()), 0, 1);
    eventually("a slot is seen to move", SOON, || (proxy.metric("replicas_moving") == 1).then_some(()));
    let readers = Readers::start(proxy, &key, 4);
    readers.until_none_at(cluster.node(3));
    // By another slot, should the last one's move be over too long for the proxy to leave the replica alone.
    cluster.move_slot(Slot::of(second.as_bytes()), 0, 1);
    eventually("a slot is seen to move", SOON, || (proxy.metric("replicas_moving") == 1).then_some(()));
    let (mut source, mut target) = (cluster.node(0).client(), cluster.node(1).client());
    let (source_id, target_id) = (source.cmd("CLUSTER MYID").text(), target.cmd("CLUSTER MYID").text());
    let (slot, port) = (Slot::of(key.as_bytes()), cluster.node(1).port());
    for (node, line) in [
        (&mut target, format!("CLUSTER SETSLOT {slot} IMPORTING {source_id}")),
        (&mut source, format!("CLUSTER SETSLOT {slot} MIGRATING {target_id}")),
    ] {
        assert_eq!(node.cmd(&line).text(), "OK", "{line}");
    }
    assert_eq!(source.cmd(&format!("MIGRATE 127.0.0.1 {port} {key} 0 10000")).text(), "OK");
    readers.go_on();
    for node in [&mut target, &mut source] {
        assert_eq!(node.cmd(&format!("CLUSTER SETSLOT {slot} NODE {target_id}")).text(), "OK");
    }
    readers.go_on();
    assert_eq!(readers.stop(), Vec::<String>::new(), "no read failed");
}

#[test]
fn reads_go_on_through_failovers() {
    let mut cluster = Cluster::with(Kind::usual(), 3, 3);
    // Longer than the cluster needs to elect another primary.
    let proxy =
        Options::cluster(&cluster.urls()).set(&[FROM_REPLICAS, "cluster.command_timeout=20s"]).start();
    let (key, mut client) = (cluster.key_on(0, "key"), proxy.client());
    client.cmd(&format!("SET {key} value"));
    until_read_from(cluster.node(3), &mut client, &key);
    let readers = Readers::start(&proxy, &key, 4);
    cluster.fail_over_to(3);
    readers.go_on();
    // The former primary has become a replica: it is what is read from now.
    until_read_from(cluster.node(0), &mut client, &key);
    readers.until_none_at(cluster.node(3));
    cluster.node_mut(3).kill();
    eventually("the replica has taken over", SOON, || {
        readers.go_on();
        (cluster.node(0).info("role")? == "master").then_some(())
    });
    readers.go_on();
    assert_eq!(readers.stop(), Vec::<String>::new(), "no read failed");
    assert_eq!(client.cmd(&format!("SET {key} other")).text(), "OK");
}

#[test]
fn a_read_that_a_replica_lost_or_refused_is_asked_once_at_the_primary() {
    for refusal in [
        Action::line("-LOADING Redis is loading the dataset in memory"),
        Action::line("-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
        Action::line("-CLUSTERDOWN The cluster is down"),
        Action::line("-MOVED 1 127.0.0.1:1"),
        Action::Close(Vec::new()),
        Action::Close(b"$100\r\nhalf".to_vec()),
        Action::Silence,
    ] {
        let says = refusal.clone();
        let fakes = Fake::shard(vec![
            scripted(|_| primary(100), |_| Action::bulk("primary")),
            scripted(
                |_| replica(100),
                move |key| if key == "warm" { Action::bulk("replica") } else { says.clone() },
            ),
        ]);
        let (proxy, mut client) = over_shard(&fakes, &[FROM_REPLICAS]);
        eventually("the replica is read from", SOON, || {
            (client.cmd("GET warm").text() == "replica").then_some(())
        });
        assert_eq!(client.cmd("GET k").text(), "primary", "{refusal:?}");
        let asked = fakes.iter().map(|fake| fake.received().iter().filter(|it| it.text(1) == "k").count());
        assert_eq!(asked.collect::<Vec<_>>(), [1, 1], "{refusal:?}");
        assert_eq!(proxy.metric("reads_retried"), 1, "{refusal:?}");
        assert_eq!((proxy.metric("timeouts"), proxy.metric("lost")), (0, 0), "{refusal:?}");
    }
}

#[test]
fn what_the_primary_loses_too_is_an_error() {
    let fakes = Fake::shard(vec![
        scripted(
            |_| primary(100),
            |key| if key == "warm" { Action::bulk("primary") } else { Action::Close(Vec::new()) },
        ),
        scripted(
            |_| replica(100),
            |key| if key == "warm" { Action::bulk("replica") } else { Action::Close(Vec::new()) },
        ),
    ]);
    let (_proxy, mut client) = over_shard(&fakes, &[FROM_REPLICAS]);
    eventually("the replica is read from", SOON, || {
        (client.cmd("GET warm").text() == "replica").then_some(())
    });
    let reply = client.cmd("GET k");
    assert!(reply.error().contains("the backend connection was lost"), "{reply:?}");
    let asked = fakes.iter().map(|fake| fake.received().iter().filter(|it| it.text(1) == "k").count());
    assert_eq!(asked.collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn a_replica_that_lacks_too_much_is_left_out_until_it_has_caught_up() {
    let has = Arc::new(AtomicU64::new(10_000));
    let offset = Arc::clone(&has);
    let fakes = Fake::shard(vec![
        scripted(|_| primary(10_000), |_| Action::bulk("primary")),
        scripted(move |_| replica(offset.load(Ordering::SeqCst)), |_| Action::bulk("replica")),
    ]);
    let (proxy, mut client) = over_shard(&fakes, &[FROM_REPLICAS, "cluster.max_replica_lag=1000"]);
    let mut until_read_at = |node: &str| {
        eventually("it is read there", SOON, || (client.cmd("GET k").text() == node).then_some(()));
    };
    until_read_at("replica");
    has.store(8_999, Ordering::SeqCst);
    until_read_at("primary");
    assert_eq!((proxy.metric("replicas_lagging"), proxy.metric("replicas_usable")), (1, 0));
    // Back within the limit, but not yet well within it.
    has.store(9_400, Ordering::SeqCst);
    let asked = fakes[1].count("INFO");
    eventually("it is asked again", SOON, || (fakes[1].count("INFO") >= asked + 3).then_some(()));
    until_read_at("primary");
    assert_eq!(proxy.metric("replicas_lagging"), 1);
    has.store(9_500, Ordering::SeqCst);
    until_read_at("replica");
}

#[test]
fn the_nearest_node_is_read_from_be_it_the_primary_or_not() {
    let slow = Arc::new(AtomicU64::new(0));
    let script = |index: u64, says: fn(u64) -> Vec<u8>, name: &'static str| {
        let slow = Arc::clone(&slow);
        scripted_late(
            move || if slow.load(Ordering::SeqCst) == index { 50 } else { 0 },
            move |_| says(100),
            move |_| Action::bulk(name),
        )
    };
    let fakes = Fake::shard(vec![
        script(0, primary, "primary"),
        script(1, replica, "near"),
        script(2, replica, "other"),
    ]);
    let (proxy, _) = over_shard(&fakes, &["cluster.read_from=nearest"]);
    let mut clients: Vec<Raw> = (0..16).map(|_| proxy.client()).collect();
    // Those that are equally near share the clients.
    let mut until_shared_by = |nodes: [&str; 2]| {
        eventually(&format!("{nodes:?} are read from"), SOON, || {
            let mut read: Vec<String> = clients.iter_mut().map(|client| client.cmd("GET k").text()).collect();
            read.sort();
            read.dedup();
            (read == nodes).then_some(())
        });
    };
    until_shared_by(["near", "other"]);
    slow.store(2, Ordering::SeqCst);
    until_shared_by(["near", "primary"]);
    assert_eq!(proxy.metric("replicas_usable"), 2, "both would do");
}

/// A proxy over a shard of fakes that knows its topology, and a client.
fn over_shard(fakes: &[Fake], settings: &[&str]) -> (Proxy, Raw) {
    let seed = format!("redis://{}", fakes[0].addr());
    let proxy = Options::cluster(&[seed]).set(&[DEADLINE]).set(settings).eager().start();
    let client = proxy.client();
    (proxy, client)
}

/// What a node says of its replication.
fn primary(offset: u64) -> Vec<u8> {
    let text = format!("# Replication\r\nrole:master\r\nmaster_repl_offset:{offset}\r\n");
    bulk(&text).into_bytes()
}

fn replica(offset: u64) -> Vec<u8> {
    let text = format!("role:slave\r\nmaster_link_status:up\r\nslave_repl_offset:{offset}\r\n");
    bulk(&text).into_bytes()
}

/// A node that says so of its replication, and answers requests by their key.
fn scripted(
    replication: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static,
    answer: impl Fn(&str) -> Action + Send + Sync + 'static,
) -> Box<Script> {
    scripted_late(|| 0, replication, answer)
}

/// The same, saying it after so many milliseconds.
fn scripted_late(
    late: impl Fn() -> u64 + Send + Sync + 'static,
    replication: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static,
    answer: impl Fn(&str) -> Action + Send + Sync + 'static,
) -> Box<Script> {
    Box::new(move |request| match request.name().as_str() {
        "INFO" => Action::Late(Duration::from_millis(late()), replication(request)),
        _ => answer(&request.text(1)),
    })
}

/// Writes something of several types in the slot of each key, and waits until the replicas have it.
fn fill(cluster: &Cluster, client: &mut Raw, keys: &[String]) {
    for key in keys {
        for line in [
            format!("SET {key} {key}"),
            format!("HSET {{{key}}}h a 1 b 2"),
            format!("XADD {{{key}}}x * a 1"),
            format!("ZADD {{{key}}}z 1 a"),
        ] {
            let reply = client.cmd(&line);
            assert!(!reply.is_error(), "{line}: {reply:?}");
        }
    }
    for index in 0..3 {
        let written = cluster.node(index).info("master_repl_offset");
        eventually("the replica has it", SOON, || {
            (cluster.node(3 + index).info("slave_repl_offset") >= written).then_some(())
        });
    }
}

/// Waits until this client's reads of `key` reach `node`: its connection there is up, it is known to be well,
/// and has the key: a replica that was just given all data may be told what was written since only a second later.
fn until_read_from(node: &Server, client: &mut Raw, key: &str) {
    eventually("the replica is read from", SOON, || {
        let before = Commands::of(node).calls("get");
        let is_there = client.cmd(&format!("GET {key}")) != Value::Nil;
        (Commands::of(node).calls("get") > before && is_there).then_some(())
    });
}

/// How often a node ran each command.
struct Commands(String);

impl Commands {
    fn of(node: &Server) -> Self {
        Self(node.client().cmd("INFO commandstats").text())
    }

    fn calls(&self, name: &str) -> u64 {
        let prefix = format!("cmdstat_{name}:calls=");
        let mut rows = self.0.lines().filter_map(|line| line.strip_prefix(&prefix));
        rows.next().map_or(0, |row| row.split(',').next().unwrap_or_default().parse().expect("a number"))
    }
}

fn commands_of(cluster: &Cluster) -> Vec<Commands> {
    (0..cluster.len()).map(|index| Commands::of(cluster.node(index))).collect()
}

/// Clients that read one key for as long as they are let.
struct Readers {
    ends: Arc<AtomicBool>,
    /// Reads of each that were answered.
    reads: Vec<Arc<AtomicU64>>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Readers {
    fn start(proxy: &Proxy, key: &str, count: usize) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let reads: Vec<_> = (0..count).map(|_| Arc::new(AtomicU64::new(0))).collect();
        let threads = reads.iter().map(|reads| {
            let (ends, reads) = (Arc::clone(&ends), Arc::clone(reads));
            let (mut client, line) = (proxy.client(), format!("GET {key}"));
            spawn(move || {
                let mut failed = Vec::new();
                while !ends.load(Ordering::SeqCst) {
                    let reply = client.cmd(&line);
                    if !matches!(reply, Value::Bulk(_)) {
                        failed.push(format!("{reply:?}"));
                    }
                    reads.fetch_add(1, Ordering::SeqCst);
                }
                failed
            })
        });
        let threads = threads.collect();
        Self { ends, reads, threads }
    }

    /// Waits until each has read some more.
    fn go_on(&self) {
        let before: Vec<u64> = self.reads.iter().map(|reads| reads.load(Ordering::SeqCst)).collect();
        eventually("reads go on", SOON, || {
            let mut both = self.reads.iter().zip(&before);
            both.all(|(reads, before)| reads.load(Ordering::SeqCst) >= before + 20).then_some(())
        });
    }

    /// Waits until none of their reads reaches `node`.
    fn until_none_at(&self, node: &Server) {
        eventually("nobody reads there", SOON, || {
            let before = Commands::of(node).calls("get");
            self.go_on();
            (Commands::of(node).calls("get") == before).then_some(())
        });
    }

    /// The reads that failed.
    fn stop(self) -> Vec<String> {
        self.ends.store(true, Ordering::SeqCst);
        self.threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    }
}
