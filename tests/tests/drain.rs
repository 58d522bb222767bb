//! The graceful end: what is in flight is answered, nobody new is served, the exit code is 0.

use std::time::Duration;

use slotway_tests::cluster::Cluster;
use slotway_tests::fake::{Action, Fake};
use slotway_tests::load::Load;
use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::server::Server;

/// Far above the proxies' grace periods here.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_request_in_flight_is_answered_before_the_end() {
    let fake = Fake::start(|request| match request.name().as_str() {
        "LPOP" => Action::Late(Duration::from_millis(500), b"$4\r\nlate\r\n".to_vec()),
        _ => Action::line("+OK"),
    });
    let mut proxy = Options::cluster(&[format!("redis://{}", fake.addr())]).eager().start();
    let mut client = proxy.client();
    client.send_line("SET a 1");
    client.send_line("LPOP l");
    eventually("the request is in flight", PATIENCE, || (fake.count("LPOP") == 1).then_some(()));
    proxy.ask_to_end();
    assert_eq!(client.read_to_close(), b"+OK\r\n$4\r\nlate\r\n");
    assert_eq!(proxy.wait(PATIENCE).code(), Some(0));
}

#[test]
fn under_load_nothing_is_lost_and_the_end_comes_with_exit_code_0() {
    let cluster = Cluster::start();
    let mut proxy = Options::cluster(&cluster.urls()).flag("--grace-period", "5s").start();
    let load = Load::start(&proxy.addr(), 20, 5, "drain");
    load.wait_for_rounds(500);
    proxy.ask_to_end();
    assert_eq!(proxy.wait(PATIENCE).code(), Some(0));
    for book in load.stop() {
        assert!(book.wrong.is_empty() && book.errors.is_empty(), "{book:?}");
        assert!(book.lost.is_some(), "a client that was never told of the end: {book:?}");
        // The request that the close met unanswered may or may not have run; every other one counts.
        for (number, &least) in book.acknowledged.iter().enumerate() {
            let key = slotway_tests::load::counter("drain", book.client, number);
            let value = value_of(&cluster, &key);
            assert!((least..=least + 1).contains(&value), "{key} is {value}, acknowledged {least}");
        }
    }
}

#[test]
fn new_connections_are_refused_while_old_ones_end() {
    let fake = Fake::start(|request| match request.name().as_str() {
        "LPOP" => Action::Late(Duration::from_secs(2), b"$4\r\nlate\r\n".to_vec()),
        _ => Action::line("+OK"),
    });
    let mut proxy = Options::cluster(&[format!("redis://{}", fake.addr())]).eager().start();
    let mut client = proxy.client();
    client.send_line("LPOP l");
    eventually("the request is in flight", PATIENCE, || (fake.count("LPOP") == 1).then_some(()));
    proxy.ask_to_end();
    eventually("nobody new is served", PATIENCE, || {
        let newcomer = Raw::try_connect(&proxy.addr());
        newcomer.and_then(|mut raw| raw.try_call(&["PING"])).is_err().then_some(())
    });
    assert_eq!(client.read().text(), "late");
    assert_eq!(proxy.wait(PATIENCE).code(), Some(0));
}

#[test]
fn idle_clients_do_not_hold_the_end_up() {
    let (_server, mut proxy) = standalone();
    let mut idle: Vec<Raw> = (0..100).map(|_| proxy.client()).collect();
    assert!(idle.iter_mut().all(|client| client.cmd("PING").text() == "PONG"));
    proxy.ask_to_end();
    assert!(idle.iter_mut().all(|client| client.read_to_close().is_empty()));
    assert_eq!(proxy.wait(PATIENCE).code(), Some(0));
}

#[test]
fn a_request_that_is_never_answered_is_given_up_after_the_grace_period() {
    let fake = Fake::start(|request| match request.name().as_str() {
        "LPOP" => Action::Silence,
        _ => Action::line("+OK"),
    });
    let options = Options::cluster(&[format!("redis://{}", fake.addr())]).eager();
    let mut proxy = options.flag("--grace-period", "1s").flag("--set", "cluster.command_timeout=1h").start();
    let mut client = proxy.client();
    client.send_line("LPOP l");
    eventually("the request is in flight", PATIENCE, || (fake.count("LPOP") == 1).then_some(()));
    proxy.ask_to_end();
    let said = client.read_to_close();
    assert!(said.is_empty() || said.starts_with(b"-"), "{}", said.escape_ascii());
    assert_eq!(proxy.wait(PATIENCE).code(), Some(0));
}

fn standalone() -> (Server, Proxy) {
    let server = Server::start();
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).start();
    (server, proxy)
}

fn value_of(cluster: &Cluster, key: &str) -> i64 {
    let owner = cluster.first_owner(slotway::cluster::slot::Slot::of(key.as_bytes()));
    cluster.node(owner).client().call(&["GET", key]).text().parse().unwrap_or(0)
}
