//! A client that waits, and what may happen to it: it goes, it is killed or released, the proxy ends.
//! `blocking_failover.rs` has what happens to the servers.

use std::time::{Duration, Instant};

use slotway_tests::play::{blocked_at, wait_for_blocked};
use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::server::Server;
use slotway_tests::value::Value;

const SOON: Duration = Duration::from_secs(10);

/// A server and the proxy, two workers, before it; `sets` are keys of its file.
fn start(sets: &[&str]) -> (Server, Proxy) {
    let server = Server::start();
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).set(sets).start();
    (server, proxy)
}

/// A client of the proxy that waits in `line`, one more than `others`; and its id.
#[track_caller]
fn waiting(server: &Server, proxy: &Proxy, line: &str, others: usize) -> (Raw, i64) {
    let mut client = proxy.client();
    let id = client.cmd("CLIENT ID").int();
    client.send_line(line);
    wait_for_blocked(&server.addr(), others + 1);
    (client, id)
}

#[test]
fn when_the_client_goes_its_wait_in_the_server_ends_and_the_next_element_stays() {
    let (server, proxy) = start(&[]);
    let mut direct = server.client();
    for (line, push, count) in [
        ("BLPOP k 0", "RPUSH k x", "LLEN k"),
        ("BLMOVE k d LEFT LEFT 0", "RPUSH k x", "LLEN k"),
        ("BZPOPMIN z 0", "ZADD z 1 a", "ZCARD z"),
        ("BLMPOP 0 2 k k2 LEFT", "RPUSH k x", "LLEN k"),
    ] {
        for round in 0..4 {
            let (mut client, _) = waiting(&server, &proxy, line, 0);
            if round % 2 == 1 {
                // With a request behind it that nobody has read yet.
                client.send_line("SET never 1");
            }
            drop(client);
            let start = Instant::now();
            wait_for_blocked(&server.addr(), 0);
            println!("{line}: {:?} until the server knew", start.elapsed());
            direct.cmd(push);
            assert_eq!(direct.cmd(count).int(), 1, "{line}: the element was taken for nobody");
            direct.cmd("DEL k z");
        }
    }
    eventually("the proxy holds nothing", SOON, || {
        (proxy.metric("private_connections") == 0 && proxy.metric("blocked_clients") == 0).then_some(())
    });
}

#[test]
fn a_client_that_has_said_all_that_it_will_say_is_one_that_has_gone() {
    // As with the servers: whoever closes its sending side while it waits is not answered.
    let server = Server::start();
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).start();
    for addr in [server.addr(), proxy.addr()] {
        let mut client = Raw::connect(&addr);
        client.send_line("BLPOP k 0");
        wait_for_blocked(&server.addr(), 1);
        client.finish_sending();
        assert_eq!(client.read_to_close(), b"", "{addr}");
        wait_for_blocked(&server.addr(), 0);
        server.client().cmd("RPUSH k x");
        assert_eq!(server.client().cmd("LPOP k").text(), "x");
    }
}

#[test]
fn client_kill_ends_the_wait() {
    let (server, proxy) = start(&[]);
    let mut admin = proxy.client();
    for _ in 0..6 {
        let (mut client, id) = waiting(&server, &proxy, "BLPOP k 0", 0);
        assert_eq!(admin.cmd(&format!("CLIENT KILL ID {id}")).int(), 1);
        assert_eq!(client.read_to_close(), b"");
        wait_for_blocked(&server.addr(), 0);
        admin.cmd("RPUSH k x");
        assert_eq!(admin.cmd("LPOP k").text(), "x");
    }
}

#[test]
fn client_unblock_releases_as_a_timeout_or_with_an_error_on_whatever_worker() {
    let (server, proxy) = start(&[]);
    // More than workers, so that some are on another's.
    let mut admins: Vec<Raw> = (0..4).map(|_| proxy.client()).collect();
    let released = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
    for (round, admin) in admins.iter_mut().enumerate() {
        for line in ["BLPOP k 0", "BZPOPMAX k 100", "XREAD BLOCK 0 STREAMS k $", "BLMOVE k k LEFT LEFT 0"] {
            let (mut client, id) = waiting(&server, &proxy, line, 0);
            client.send_line("ECHO next");
            let how = ["", " TIMEOUT", " timeout"][round % 3];
            assert_eq!(admin.cmd(&format!("CLIENT UNBLOCK {id}{how}")).int(), 1, "{line}");
            assert_eq!(client.read(), Value::Nil, "{line}");
            assert_eq!(client.read().text(), "next");
            assert_eq!(admin.cmd(&format!("CLIENT UNBLOCK {id}")).int(), 0, "it waits no longer");
            client.send_line(line);
            wait_for_blocked(&server.addr(), 1);
            assert_eq!(admin.cmd(&format!("CLIENT UNBLOCK {id} ERROR")).int(), 1, "{line}");
            assert_eq!(client.read().error(), released, "{line}");
            wait_for_blocked(&server.addr(), 0);
            admin.cmd("RPUSH left x");
            assert_eq!(client.cmd("BLPOP left 1").items()[1].text(), "x", "the client goes on");
        }
    }
    assert!(proxy.metric("unblocked_clients") >= 32);
    let mut plain = server.client();
    for line in ["CLIENT UNBLOCK 999999", "CLIENT UNBLOCK x", "CLIENT UNBLOCK 1 WHAT", "CLIENT UNBLOCK"] {
        assert_eq!(admins[0].cmd(line), plain.cmd(line), "{line}");
    }
    let own = admins[0].cmd("CLIENT ID").int();
    assert_eq!(admins[0].cmd(&format!("CLIENT UNBLOCK {own}")).int(), 0);
    let other = admins[1].cmd("CLIENT ID").int();
    assert_eq!(admins[0].cmd(&format!("CLIENT UNBLOCK {other} ERROR")).int(), 0);
    assert_eq!(admins[1].cmd("ECHO untouched").text(), "untouched");
}

#[test]
fn client_list_shows_who_waits() {
    let (server, proxy) = start(&[]);
    let (_client, id) = waiting(&server, &proxy, "BLPOP k 0", 0);
    let mut admin = proxy.client();
    let row = |admin: &mut Raw| {
        let text = admin.cmd("CLIENT LIST").text();
        let wanted = format!("id={id} ");
        text.lines().find(|line| line.starts_with(&wanted)).map(|line| format!("{line} ")).unwrap_or_default()
    };
    let shown = row(&mut admin);
    for field in [" flags=b ", " cmd=blpop ", " pin=blocked ", " multi=-1 ", " watch=0 "] {
        assert!(shown.contains(field), "{field} in {shown}");
    }
    eventually("the age of the pin is shown", SOON, || {
        let shown = row(&mut admin);
        let age = shown.split("pin-age=").nth(1)?.split(' ').next()?.parse::<u64>().ok()?;
        (age >= 1).then_some(())
    });
    assert_eq!(proxy.metric("blocked_clients"), 1);
    server.client().cmd("RPUSH k x");
    eventually("nobody waits", SOON, || {
        let shown = row(&mut admin);
        (shown.contains(" flags=N ") && shown.contains(" pin=none ")).then_some(())
    });
}

#[test]
fn the_end_does_not_wait_for_those_who_wait_and_loses_no_element() {
    let (server, mut proxy) = start(&["grace_period=10s"]);
    let mut clients: Vec<Raw> =
        (0..50).map(|others| waiting(&server, &proxy, "BLPOP k 0", others).0).collect();
    let start = Instant::now();
    proxy.ask_to_end();
    // While it ends: each is either told to somebody or stays.
    let mut direct = server.client();
    (0..100).for_each(|number| direct.send_line(&format!("RPUSH k {number}")));
    direct.read_many(100);
    let mut told = Vec::new();
    for client in &mut clients {
        let said = client.read_to_close();
        if said.starts_with(b"*") {
            told.push(Value::decode(&said).items()[1].text());
        } else {
            assert!(said.is_empty() || said.starts_with(b"-"), "{}", said.escape_ascii());
        }
    }
    assert_eq!(proxy.wait(SOON).code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?} of a grace period of 10 s", start.elapsed());
    wait_for_blocked(&server.addr(), 0);
    let left = direct.cmd("LRANGE k 0 -1");
    let mut all: Vec<i64> = left.items().iter().map(|item| item.text().parse().expect("a number")).collect();
    println!("{} told, {} left", told.len(), all.len());
    all.extend(told.iter().map(|text| text.parse::<i64>().expect("a number")));
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..100), "lost or twice: {all:?}");
}

#[test]
fn neither_command_timeout_nor_idle_timeout_cuts_who_waits() {
    let (server, proxy) = start(&["cluster.command_timeout=1s", "clients.idle_timeout=1s"]);
    let (mut client, _) = waiting(&server, &proxy, "BLPOP k 0", 0);
    let (mut reader, _) = waiting(&server, &proxy, "XREAD BLOCK 20000 STREAMS s $", 1);
    assert!(client.is_silent_for(Duration::from_secs(4)));
    assert_eq!(blocked_at(&server.addr()), 2);
    let mut direct = server.client();
    direct.cmd("RPUSH k x");
    direct.cmd("XADD s 1-1 f v");
    assert_eq!(client.read().items()[1].text(), "x");
    assert!(!reader.read().is_error());
    // Only now it is idle.
    assert_eq!(client.read_to_close(), b"");
}

#[test]
fn a_timeout_that_outlasts_command_timeout_is_kept() {
    let (_server, proxy) = start(&["cluster.command_timeout=500ms", "cluster.connect_timeout=500ms"]);
    let mut client = proxy.client();
    let start = Instant::now();
    assert_eq!(client.cmd("BLPOP k 2"), Value::Nil);
    let took = start.elapsed();
    assert!((Duration::from_millis(1_990)..Duration::from_millis(2_300)).contains(&took), "{took:?}");
}
