//! The cluster changes shape under load: no reply may be wrong, none lost.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use slotway::cluster::slot::Slot;
use slotway_tests::cluster::Cluster;
use slotway_tests::load::{Book, Load, counter};
use slotway_tests::namespace::Namespace;
use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::server::Kind;
use slotway_tests::value::Value;

const CLIENTS: usize = 12;
const COUNTERS: usize = 8;

#[test]
fn a_slot_that_moves_back_and_forth_under_load_loses_nothing() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    // Every key of the load in one slot: the one that moves.
    let tag = "{moving}";
    let slot = Slot::of(b"{moving}");
    let home = cluster.first_owner(slot);
    let away = (home + 1) % 3;
    fill(&proxy, tag);
    let load = Load::start(&proxy.addr(), CLIENTS, COUNTERS, tag);
    load.wait_for_rounds(500);
    for _ in 0..4 {
        cluster.move_slot(slot, home, away);
        load.wait_for_rounds(300);
        cluster.move_slot(slot, away, home);
        load.wait_for_rounds(300);
    }
    let books = load.stop();
    check(&books);
    compare_counters(&proxy, &books, tag);
}

#[test]
fn many_slots_that_move_under_load_lose_nothing() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let tag = "spread";
    let load = Load::start(&proxy.addr(), CLIENTS, COUNTERS, tag);
    load.wait_for_rounds(500);
    let keys = (0..CLIENTS).map(|client| counter(tag, client, 0));
    let slots: Vec<Slot> = keys.map(|key| Slot::of(key.as_bytes())).collect();
    for &slot in &slots {
        let home = cluster.first_owner(slot);
        cluster.move_slot(slot, home, (home + 1) % 3);
        load.wait_for_rounds(50);
    }
    let books = load.stop();
    check(&books);
    compare_counters(&proxy, &books, tag);
}

#[test]
fn a_failover_on_request_under_load_loses_nothing() {
    let cluster = Cluster::with(Kind::usual(), 3, 3);
    let proxy = Proxy::over(&cluster);
    let tag = "failover";
    let load = Load::start(&proxy.addr(), CLIENTS, COUNTERS, tag);
    load.wait_for_rounds(500);
    // There and back: replica 3 follows primary 0, 4 follows 1.
    for node in [3, 4, 0, 1] {
        cluster.fail_over_to(node);
        load.wait_for_rounds(500);
    }
    let books = load.stop();
    check(&books);
    compare_counters(&proxy, &books, tag);
}

#[test]
fn commands_of_several_keys_survive_a_slot_that_is_half_moved() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let mut client = proxy.client();
    let slot = Slot::of(b"{half}");
    let home = cluster.first_owner(slot);
    let away = (home + 1) % 3;
    client.cmd("MSET {half}1 1 {half}2 2 {half}3 3");
    let ids = [home, away].map(|node| cluster.node(node).client().cmd("CLUSTER MYID").text());
    let importing = format!("CLUSTER SETSLOT {slot} IMPORTING {}", ids[0]);
    let migrating = format!("CLUSTER SETSLOT {slot} MIGRATING {}", ids[1]);
    assert_eq!(cluster.node(away).client().cmd(&importing).text(), "OK");
    assert_eq!(cluster.node(home).client().cmd(&migrating).text(), "OK");
    // Keys that are all at home, or all absent and so asked for at the new node.
    assert_eq!(
        client.cmd("MGET {half}1 {half}2").items().iter().map(Value::text).collect::<Vec<_>>(),
        ["1", "2"]
    );
    assert_eq!(client.cmd("GET {half}none"), Value::Nil);
    assert_eq!(client.cmd("SET {half}new x").text(), "OK");
    assert_eq!(client.cmd("GET {half}new").text(), "x");
    let port = cluster.node(away).port();
    let one = format!("MIGRATE 127.0.0.1 {port} {{half}}1 0 5000");
    assert_eq!(cluster.node(home).client().cmd(&one).text(), "OK");
    assert_eq!(client.cmd("GET {half}1").text(), "1");
    // One key there, one here: the server says TRYAGAIN until the slot has moved.
    client.send_line("MGET {half}1 {half}2");
    cluster.move_slot(slot, home, away);
    assert_eq!(client.read().items().iter().map(Value::text).collect::<Vec<_>>(), ["1", "2"]);
}

/// Ballast, so that moving the slot takes more than one MIGRATE.
/// What a namespace has is looked for by SCAN on each shard, whose cursors mean nothing to another node.
#[test]
fn a_namespace_is_counted_whole_while_the_slot_moves_by_which_a_shard_is_found() {
    const KEYS: usize = 9_000;
    let cluster = Cluster::start();
    let namespace = Namespace::spread("ann4x9q2");
    namespace.admit(&cluster);
    let plain = "[[users]]\nname = \"default\"\nnopass = true\n";
    let proxy =
        Options::cluster(&cluster.urls()).config(&[plain, &namespace.settings("ann")].concat()).start();
    let mut ann = proxy.client();
    assert_eq!(ann.cmd("AUTH ann any").text(), "OK");
    // None of them in the slot that moves.
    let is_other = |name: &String| Slot::of(format!("ann4x9q2:{name}").as_bytes()) != Slot::FIXED;
    let names: Vec<_> = (0..KEYS).map(|number| number.to_string()).filter(is_other).collect();
    for names in names.chunks(1_000) {
        names.iter().for_each(|name| ann.send(&["SET", name, "v"]));
        assert!(ann.read_many(names.len()).iter().all(|reply| !reply.is_error()));
    }
    let mut other = proxy.client();
    let (moves, counted) = (AtomicBool::new(true), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while moves.load(Ordering::Relaxed) {
                assert_eq!(ann.cmd("DBSIZE").int(), names.len() as i64);
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mover = scope.spawn(|| {
            cluster.move_back_and_forth(Slot::FIXED, 20, || {
                // By a key of that slot the proxy learns where it is.
                assert_eq!(other.cmd("GET {06S}"), Value::Nil);
                let seen = counted.load(Ordering::Relaxed);
                eventually("it was counted", Duration::from_secs(20), || {
                    (counted.load(Ordering::Relaxed) > seen).then_some(())
                });
            })
        });
        let moved = mover.join();
        moves.store(false, Ordering::Relaxed);
        moved.expect("the slot has moved");
    });
}

#[test]
fn a_scan_is_whole_while_slots_move() {
    const KEYS: usize = 5_000;
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let mut client = proxy.client();
    let is_other = |name: &String| Slot::of(name.as_bytes()) != Slot::FIXED;
    let names: BTreeSet<_> = (0..KEYS).map(|number| number.to_string()).filter(is_other).collect();
    names.iter().for_each(|name| client.send(&["SET", name, "v"]));
    assert!(client.read_many(names.len()).iter().all(|reply| !reply.is_error()));
    let mut other = proxy.client();
    let (moves, scanned) = (AtomicBool::new(true), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while moves.load(Ordering::Relaxed) {
                let (mut seen, mut cursor) = (BTreeSet::new(), "0".to_owned());
                loop {
                    let reply = client.cmd(&format!("SCAN {cursor} COUNT 100"));
                    seen.extend(reply.items()[1].items().iter().map(Value::text));
                    cursor = reply.items()[0].text();
                    if cursor == "0" {
                        break;
                    }
                }
                assert_eq!(names.difference(&seen).count(), 0, "missed");
                scanned.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mover = scope.spawn(|| {
            cluster.move_back_and_forth(Slot::FIXED, 20, || {
                assert_eq!(other.cmd("GET {06S}"), Value::Nil);
                let seen = scanned.load(Ordering::Relaxed);
                eventually("it was scanned", Duration::from_secs(20), || {
                    (scanned.load(Ordering::Relaxed) > seen).then_some(())
                });
            });
        });
        let moved = mover.join();
        moves.store(false, Ordering::Relaxed);
        moved.expect("the slot has moved");
    });
}

fn fill(proxy: &Proxy, tag: &str) {
    let mut client = proxy.client();
    for number in 0..1_000 {
        client.send(&["SET", &format!("ballast:{tag}:{number}"), "x"]);
    }
    assert!(client.read_many(1_000).iter().all(|reply| reply.text() == "OK"));
}

fn check(books: &[Book]) {
    for book in books {
        assert!(book.wrong.is_empty(), "client {}: {:?}", book.client, book.wrong);
        assert_eq!(book.lost, None, "client {}", book.client);
        assert!(book.errors.is_empty(), "client {}: {:?}", book.client, book.errors);
        assert!(book.acknowledged.iter().sum::<i64>() > 0, "client {} did nothing", book.client);
    }
}

/// What was acknowledged is there, and nothing more but what ended in an error.
fn compare_counters(proxy: &Proxy, books: &[Book], tag: &str) {
    let mut client: Raw = proxy.client();
    for book in books {
        for (number, &least) in book.acknowledged.iter().enumerate() {
            let key = counter(tag, book.client, number);
            let value = client.call(&["GET", &key]).text().parse::<i64>().unwrap_or(0);
            let most = least + book.unknown[number];
            assert!((least..=most).contains(&value), "{key} is {value}, has to be {least} to {most}");
        }
    }
}
