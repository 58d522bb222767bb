//! A client that waits while its servers restart, fail over, move slots or die.

use std::time::Duration;

use slotway::cluster::slot::Slot;
use slotway_tests::cluster::Cluster;
use slotway_tests::play::{Stage, blocked_at, wait_for_blocked};
use slotway_tests::poll::try_eventually;
use slotway_tests::proxy::{Options, Proxy, answered};
use slotway_tests::raw::Raw;
use slotway_tests::server::{Kind, Server};
use slotway_tests::value::Value;

/// The project's promise: after faults stop everything recovers within this.
const RECOVERY: Duration = Duration::from_secs(10);

/// Beginning of the error that says that nobody knows.
const MAY_HAVE_RUN: &str = "UNBLOCKED slotway:";

#[test]
fn when_the_server_restarts_a_pop_may_have_run_and_a_read_goes_on() {
    let mut server = Server::start();
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).start();
    let pops = ["BLPOP k 0", "BRPOPLPUSH k d 0", "BZPOPMIN z 0", "BLMPOP 30 1 k LEFT"];
    let mut poppers: Vec<Raw> = pops.iter().map(|line| sent(&proxy, line)).collect();
    let mut readers: Vec<Raw> = ["XREAD BLOCK 0 STREAMS s 0", "XREAD BLOCK 30000 STREAMS none s 0 0"]
        .map(|line| sent(&proxy, line))
        .into();
    wait_for_blocked(&server.addr(), pops.len() + readers.len());
    server.restart();
    for (line, popper) in pops.iter().zip(&mut poppers) {
        let error = popper.read().error();
        assert!(error.starts_with(MAY_HAVE_RUN), "{line}: {error}");
    }
    wait_for_blocked(&server.addr(), readers.len());
    assert!(readers[0].is_silent_for(Duration::from_millis(100)), "a read is no loss: nothing is said");
    server.client().cmd("XADD s 1-1 f v");
    for reader in &mut readers {
        let reply = reader.read();
        assert!(!reply.is_error(), "{reply:?}");
    }
    // All go on.
    for client in poppers.iter_mut().chain(&mut readers) {
        client.send_line("BLPOP k 0");
    }
    wait_for_blocked(&server.addr(), pops.len() + readers.len());
    for _ in 0..pops.len() + readers.len() {
        server.client().cmd("RPUSH k x");
    }
    assert!(poppers.iter_mut().chain(&mut readers).all(|client| client.read().items()[1].text() == "x"));
}

#[test]
fn a_wait_for_new_entries_does_not_forget_what_new_meant_when_the_server_restarts() {
    let mut server = Server::with(Kind::usual(), &[("appendonly", "yes"), ("appendfsync", "always")]);
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).start();
    server.client().cmd("XADD s 1-1 f old");
    let mut reader = sent(&proxy, "XREAD BLOCK 0 STREAMS s $");
    wait_for_blocked(&server.addr(), 1);
    server.restart();
    wait_for_blocked(&server.addr(), 1);
    server.client().cmd("XADD s 2-1 f new");
    let entries = reader.read();
    assert_eq!(entries.items()[0].items()[1].items()[0].items()[0].text(), "2-1");
}

#[test]
fn a_failover_on_request_is_not_noticed_by_those_who_wait() {
    let cluster = Cluster::with(Kind::usual(), 3, 6);
    let proxy = Proxy::over(&cluster);
    let stage = Stage::cluster(&proxy, &cluster);
    let mut waiters = Waiters::start(&proxy, &cluster.key_on(0, "k"));
    stage.wait_for_blocked(waiters.len());
    // Each once: 3 and 6 follow primary 0.
    for node in [3, 6, 0] {
        cluster.fail_over_to(node);
        waiters.wait_at(&cluster.node(node).addr());
    }
    waiters.are_served(&proxy);
}

#[test]
fn a_slot_that_moves_is_not_noticed_by_those_who_wait() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let stage = Stage::cluster(&proxy, &cluster);
    let mut waiters = Waiters::start(&proxy, "{moving}");
    stage.wait_for_blocked(waiters.len());
    let slot = Slot::of(b"{moving}");
    let home = cluster.first_owner(slot);
    let away = (home + 1) % 3;
    for (from, to) in [(home, away), (away, home), (home, away)] {
        cluster.move_slot(slot, from, to);
        waiters.wait_at(&cluster.node(to).addr());
    }
    waiters.are_served(&proxy);
}

#[test]
fn the_time_that_is_left_is_kept_through_a_move() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let stage = Stage::cluster(&proxy, &cluster);
    let slot = Slot::of(b"{moving}");
    let home = cluster.first_owner(slot);
    let start = std::time::Instant::now();
    let mut client = sent(&proxy, "BLPOP {moving} 4");
    stage.wait_for_blocked(1);
    std::thread::sleep(Duration::from_secs(1));
    cluster.move_slot(slot, home, (home + 1) % 3);
    assert_eq!(client.read(), Value::Nil);
    let took = start.elapsed();
    assert!((Duration::from_millis(3_990)..Duration::from_millis(4_400)).contains(&took), "{took:?}");
}

#[test]
fn when_the_primary_dies_a_pop_may_have_run_and_a_read_goes_on_at_the_replica() {
    let mut cluster = Cluster::with(Kind::usual(), 3, 3);
    let proxy = Proxy::over(&cluster);
    let stage = Stage::cluster(&proxy, &cluster);
    let key = cluster.key_on(0, "k");
    let mut popper = sent(&proxy, &format!("BLPOP {key} 0"));
    let mut reader = sent(&proxy, &format!("XREAD BLOCK 0 STREAMS {{{key}}}s 0"));
    stage.wait_for_blocked(2);
    cluster.node_mut(0).kill();
    let error = popper.read().error();
    assert!(error.starts_with(MAY_HAVE_RUN), "{error}");
    // The cluster itself needs its node timeout and an election first.
    let mut client = proxy.client();
    answered(&mut client, &format!("SET {{{key}}}alive 1"), Duration::from_secs(30));
    if try_eventually(RECOVERY, || (blocked_at(&cluster.node(3).addr()) == 1).then_some(())).is_none() {
        panic!("the read is not waiting at the replica; it was told {:?}", reader.read());
    }
    popper.send_line(&format!("BLPOP {key} 0"));
    wait_for_blocked(&cluster.node(3).addr(), 2);
    answered(&mut client, &format!("RPUSH {key} x"), RECOVERY);
    assert_eq!(popper.read().items()[1].text(), "x");
    answered(&mut client, &format!("XADD {{{key}}}s 1-1 f v"), RECOVERY);
    let entries = reader.read();
    assert!(!entries.is_error(), "{entries:?}");
}

#[test]
fn clients_and_servers_that_go_at_once_leave_nothing_behind() {
    let mut server = Server::start();
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).start();
    for round in 0..6 {
        let lines = ["BLPOP k 0", "XREAD BLOCK 0 STREAMS s $", "WATCH w", "BLMOVE k k LEFT LEFT 9"];
        let clients: Vec<Raw> = (0..200).map(|number| sent(&proxy, lines[number % 4])).collect();
        wait_for_blocked(&server.addr(), 150);
        if round % 2 == 0 {
            server.kill();
            drop(clients);
        } else {
            let (some, others): (Vec<_>, Vec<_>) =
                clients.into_iter().enumerate().partition(|(number, _)| number % 3 == 0);
            drop(some);
            server.kill();
            std::thread::sleep(Duration::from_millis(100));
            drop(others);
        }
        server.restart();
        let mut client = proxy.client();
        answered(&mut client, "SET alive 1", RECOVERY);
        for name in ["private_connections", "blocked_clients", "pinned_watch", "private_waiting"] {
            let reached = try_eventually(RECOVERY, || (proxy.metric(name) == 0).then_some(()));
            assert!(reached.is_some(), "{name} is {}", proxy.metric(name));
        }
    }
    let log = proxy.process().log_tail();
    assert!(!log.contains("panicked"), "{log}");
}

/// A client that has sent `line`.
#[track_caller]
fn sent(proxy: &Proxy, line: &str) -> Raw {
    let mut client = proxy.client();
    client.send_line(line);
    client
}

/// Clients that wait with every command, each for a key of its own in one slot.
struct Waiters(Vec<(Raw, String, String)>);

impl Waiters {
    #[track_caller]
    fn start(proxy: &Proxy, tag: &str) -> Self {
        let tag = if tag.contains('{') { tag.to_owned() } else { format!("{{{tag}}}") };
        proxy.client().cmd(&format!("XGROUP CREATE {tag}7 g $ MKSTREAM"));
        let lines = [
            ("BLPOP K 0", "RPUSH K x"),
            ("BRPOP none K 300", "RPUSH K x"),
            ("BRPOPLPUSH K Kd 0", "RPUSH K x"),
            ("BLMPOP 0 1 K LEFT", "RPUSH K x"),
            ("BZPOPMIN K 0", "ZADD K 1 a"),
            ("BZMPOP 0 1 K MAX", "ZADD K 1 a"),
            ("XREAD BLOCK 0 STREAMS K $", "XADD K 1-1 f v"),
            ("XREADGROUP GROUP g c BLOCK 0 STREAMS K >", "XADD K 1-1 f v"),
            ("BLMOVE K Kd LEFT RIGHT 0", "RPUSH K x"),
        ];
        let waiters = lines.iter().enumerate().map(|(number, (line, push))| {
            let (line, push) = (keyed(line, &tag, number), keyed(push, &tag, number));
            (sent(proxy, &line), line, push)
        });
        Self(waiters.collect())
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    /// All wait at the server at `addr`, and nobody was told anything.
    #[track_caller]
    fn wait_at(&mut self, addr: &str) {
        if try_eventually(RECOVERY, || (blocked_at(addr) == self.len()).then_some(())).is_none() {
            self.are_silent();
            panic!("{} of {} wait at {addr}, and nobody was told anything", blocked_at(addr), self.len());
        }
        self.are_silent();
    }

    #[track_caller]
    fn are_silent(&mut self) {
        for (client, line, _) in &mut self.0 {
            if !client.is_silent_for(Duration::from_millis(20)) {
                panic!("{line} was told {:?}", client.read());
            }
        }
    }

    #[track_caller]
    fn are_served(&mut self, proxy: &Proxy) {
        let mut pusher = proxy.client();
        for (client, line, push) in &mut self.0 {
            let pushed = answered(&mut pusher, push, RECOVERY);
            let reply = client.read();
            assert!(!reply.is_error() && reply != Value::Nil, "{line}: {reply:?} after {pushed:?}");
        }
    }
}

/// `line` with keys of the slot of `tag` in the place of its words `K`, `Kd` and `none`.
fn keyed(line: &str, tag: &str, number: usize) -> String {
    let put = |word: &str| match word {
        "K" => format!("{tag}{number}"),
        "Kd" => format!("{tag}{number}d"),
        "none" => format!("{tag}none"),
        other => other.to_owned(),
    };
    line.split(' ').map(put).collect::<Vec<_>>().join(" ")
}
