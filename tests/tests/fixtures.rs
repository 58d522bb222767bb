//! The fixtures themselves: what other tests stand on has to stand.

use slotway::cluster::slot::Slot;
use slotway_tests::cluster::Cluster;
use slotway_tests::fake::{Action, Fake};
use slotway_tests::raw::Raw;
use slotway_tests::server::{Kind, Server};
use slotway_tests::value::Value;

#[test]
fn a_cluster_forms_moves_a_slot_and_fails_over() {
    let cluster = Cluster::with(Kind::usual(), 3, 1);
    let slot = Slot::of(b"{moving}");
    let owner = cluster.first_owner(slot);
    let target = (owner + 1) % 3;
    let mut client = cluster.node(owner).client();
    for number in 0..250 {
        assert_eq!(client.cmd(&format!("SET {{moving}}:{number} x")), Value::Simple(b"OK".to_vec()));
    }
    cluster.move_slot(slot, owner, target);
    assert!(client.cmd("GET {moving}:1").error().starts_with("MOVED"));
    assert_eq!(cluster.node(target).client().cmd("GET {moving}:1").text(), "x");
    cluster.fail_over_to(3);
    cluster.wait_until_agreed();
}

#[test]
fn a_killed_server_comes_back_on_its_port() {
    let mut server = Server::start();
    let addr = server.addr();
    server.kill();
    assert!(Raw::try_connect(&addr).is_err());
    server.restart();
    assert_eq!(server.client().cmd("PING").text(), "PONG");
}

#[test]
fn a_fake_follows_its_script_and_records_what_it_got() {
    let fake = Fake::start(|request| match (request.name().as_str(), request.nth) {
        ("GET", 1) => Action::bulk("first"),
        ("GET", _) => Action::Close(Vec::new()),
        _ => Action::line("+OK"),
    });
    let mut client = Raw::connect(&fake.addr());
    assert_eq!(client.cmd("GET a").text(), "first");
    assert_eq!(client.cmd("CLUSTER SLOTS").items().len(), 1);
    client.send_line("GET b");
    assert!(client.read_to_close().is_empty());
    assert_eq!(fake.count("GET"), 2);
    assert_eq!(fake.received()[1].text(1), "b");
}

#[test]
fn every_supported_server_can_be_started_or_says_why_not() {
    for kind in [Kind::Redis, Kind::Valkey] {
        match kind.binary() {
            Ok(_) => assert_eq!(Server::with(kind, &[]).client().cmd("PING").text(), "PONG"),
            Err(reason) => println!("skipped {kind:?}: {reason}"),
        }
    }
}
