//! The cluster changes shape under load: no reply may be wrong, none lost.

use std::collections::BTreeSet;

use slotway::cluster::slot::Slot;
use slotway_tests::cluster::Cluster;
use slotway_tests::keys::{scan, write_all};
use slotway_tests::load::{Book, Load, counter};
use slotway_tests::namespace::Namespace;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::resharding::ask_while_it_moves;
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
    fill(&proxy, tag);
    let load = Load::start(&proxy.addr(), CLIENTS, COUNTERS, tag);
    load.wait_for_rounds(500);
    cluster.move_back_and_forth(slot, 4, || load.wait_for_rounds(300));
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
    write_all(&mut ann, &names);
    let mut other = proxy.client();
    let count = || {
        assert_eq!(ann.cmd("DBSIZE").int(), names.len() as i64);
        true
    };
    // By a key of that slot the proxy learns where it is.
    let learns = || assert_eq!(other.cmd("GET {06S}"), Value::Nil);
    ask_while_it_moves(&cluster, Slot::FIXED, &mut [count], learns);
}

#[test]
fn a_scan_is_whole_while_slots_move() {
    const KEYS: usize = 5_000;
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let mut client = proxy.client();
    let is_other = |name: &String| Slot::of(name.as_bytes()) != Slot::FIXED;
    let names: BTreeSet<_> = (0..KEYS).map(|number| number.to_string()).filter(is_other).collect();
    write_all(&mut client, &names);
    let mut other = proxy.client();
    let look = || {
        let seen = scan(&mut client, "COUNT 100", |_| ());
        assert_eq!(names.difference(&seen).count(), 0, "missed");
        true
    };
    let learns = || assert_eq!(other.cmd("GET {06S}"), Value::Nil);
    ask_while_it_moves(&cluster, Slot::FIXED, &mut [look], learns);
}

/// Ballast, so that moving the slot takes more than one MIGRATE.
fn fill(proxy: &Proxy, tag: &str) {
    let keys: Vec<_> = (0..1_000).map(|number| format!("ballast:{tag}:{number}")).collect();
    write_all(&mut proxy.client(), &keys);
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
