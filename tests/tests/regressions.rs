//! Defects that other proxies had with private connections, by their own release notes and issues: ours must
//! not have them. Each test names its defect.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use slotway_tests::argv::frame;
use slotway_tests::cluster::Cluster;
use slotway_tests::fake::{Action, Fake};
use slotway_tests::keys::{scan, write_all};
use slotway_tests::play::{Theatre, blocked_at, wait_for_blocked};
use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::server::{Kind, Server};
use slotway_tests::value::Value;

const SOON: Duration = Duration::from_secs(20);

fn start(sets: &[&str]) -> (Server, Proxy) {
    let server = Server::start();
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).set(sets).start();
    (server, proxy)
}

/// Descriptors that the proxy has open.
fn descriptors(proxy: &Proxy) -> usize {
    fs::read_dir(format!("/proc/{}/fd", proxy.process().id())).expect("it runs").count()
}

/// Nothing is leased, and all idle ones are closed.
#[track_caller]
fn nothing_is_held(proxy: &Proxy) {
    let mut last = Vec::new();
    let reached = slotway_tests::poll::try_eventually(SOON, || {
        let names = ["private_connections", "private_idle", "private_waiting", "blocked_clients"];
        last = names.map(|name| proxy.metric(name)).to_vec();
        last.iter().all(|&count| count == 0).then_some(())
    });
    assert!(reached.is_some(), "leased, idle, waiting, blocked: {last:?}");
}

/// Defect: "leak with > 32 shards and MULTI/BLOCK".
#[test]
fn more_shards_than_32_leak_nothing() {
    const SHARDS: usize = 40;
    // One server under forty addresses: what counts is how many nodes the proxy knows.
    // Timeouts are looked for `hz` times a second.
    let settings = [("bind", "0.0.0.0"), ("protected-mode", "no"), ("hz", "500")];
    let server = Server::with(Kind::usual(), &settings);
    let urls: Vec<String> =
        (1..=SHARDS).map(|host| format!("redis://127.0.0.{host}:{}", server.port())).collect();
    let proxy = Options::shards(&urls).set(&["private.idle_timeout=1s"]).start();
    let round = || {
        let mut clients: Vec<Raw> = (0..3).map(|_| proxy.client()).collect();
        for client in &mut clients {
            // Keys enough to touch every shard.
            for number in 0..SHARDS * 4 {
                let key = format!("shard:{number}");
                let lines = ["MULTI", &format!("SET {key} 1"), "EXEC", &format!("BLPOP none:{number} 0.001")];
                lines.iter().for_each(|line| client.send_line(line));
                client.send_line(&format!("WATCH {key}"));
                client.send_line("UNWATCH");
            }
            let replies = client.read_many(SHARDS * 4 * 6);
            assert!(
                replies.iter().all(|reply| !reply.is_error()),
                "{:?}",
                replies.iter().find(|r| r.is_error())
            );
            client.send_line("BLPOP none 0");
        }
        wait_for_blocked(&server.addr(), clients.len());
        drop(clients);
        wait_for_blocked(&server.addr(), 0);
        nothing_is_held(&proxy);
        (descriptors(&proxy), proxy.process().resident_bytes())
    };
    let (first, resident) = round();
    for _ in 0..5 {
        let (now, grown) = round();
        println!("{now} descriptors, {grown} bytes; {first} and {resident} at first");
        assert!(now <= first + 4, "{now} descriptors, {first} at first");
        assert!(grown < resident + (16 << 20), "{grown} bytes, {resident} at first");
    }
}

/// Defect: "leak when the client reads slowly".
#[test]
fn clients_that_do_not_read_what_they_waited_for_leak_nothing() {
    let (server, proxy) = start(&["private.idle_timeout=1s"]);
    let element = "e".repeat(4 << 20);
    let mut pusher = proxy.client();
    let mut sizes = Vec::new();
    for _ in 0..4 {
        let mut clients: Vec<Raw> = (0..8).map(|_| proxy.client()).collect();
        for client in &mut clients {
            client.send_line("BLPOP k 0");
        }
        wait_for_blocked(&server.addr(), 8);
        for _ in 0..8 {
            assert_eq!(pusher.call(&["RPUSH", "k", &element]).int(), 1);
        }
        wait_for_blocked(&server.addr(), 0);
        // Half read slowly to the end, half leave with all of it unread.
        for client in clients.iter_mut().take(4) {
            assert_eq!(client.read().items()[1].text().len(), element.len());
        }
        drop(clients);
        nothing_is_held(&proxy);
        sizes.push(proxy.process().resident_bytes());
    }
    println!("{sizes:?}");
    assert!(sizes[3] < sizes[0] + (48 << 20), "{sizes:?}");
}

/// Defect: "wrong db after several SELECT in a transaction", and "reorder with several dbs".
#[test]
fn after_several_selects_in_a_transaction_the_database_is_the_last() {
    let theatre = Theatre::standalone();
    theatre.compare(
        "a+ MULTI
         a+ SELECT 1
         a+ SELECT 2
         a+ SET k two
         a+ SELECT 3
         a+ EXEC
         a+ SET k three
         a+ SELECT 2
         a+ GET k
         a+ SELECT 3
         a> GET k
         a<\na<\na<\na<\na<\na<\na<\na<\na<\na<\na<
         b: GET k
         a: WATCH k
         a: SELECT 4
         a: MULTI
         a: SELECT 5
         a: SET k five
         a: EXEC
         a: GET k
         a: BLPOP l 0.01
         b: GET k
         b: SELECT 5
         b: GET k",
    );
}

/// Defect: "blocking command time counted as slow request for the next one".
#[test]
fn the_time_that_was_waited_is_not_the_next_requests() {
    let (server, proxy) = start(&["cluster.command_timeout=1s"]);
    let mut direct = server.client();
    direct.cmd("CONFIG SET slowlog-log-slower-than 200000");
    direct.cmd("SLOWLOG RESET");
    let mut client = proxy.client();
    for line in ["BLPOP k 0", "SET n 1", "INCR n", "BLPOP k 0", "INCR n"] {
        client.send_line(line);
    }
    for expected in [3, 1] {
        wait_for_blocked(&server.addr(), 1);
        std::thread::sleep(Duration::from_millis(1_500));
        direct.cmd("RPUSH k x");
        let replies = client.read_many(expected);
        assert!(replies.iter().all(|reply| !reply.is_error()), "{replies:?}");
    }
    assert_eq!(client.read().int(), 3);
    assert_eq!(direct.cmd("SLOWLOG LEN").int(), 0);
}

/// Defect: "client disconnect during a vector request": any request or reply that is still under way.
#[test]
fn a_client_that_leaves_amid_a_large_request_or_reply_harms_nobody() {
    let (server, proxy) = start(&["private.idle_timeout=1s"]);
    let mut other = proxy.client();
    let element = "e".repeat(8 << 20);
    assert_eq!(other.call(&["SET", "big", &element]).text(), "OK");
    for round in 0..20 {
        let mut client = proxy.client();
        match round % 4 {
            // Amid a request behind one that waits.
            0 => {
                client.send_line("BLPOP none 0");
                client.send_bytes(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\nhalf");
                wait_for_blocked(&server.addr(), 1);
            }
            // Amid the reply of a transaction that watches.
            1 => {
                ["WATCH w", "MULTI", "GET big", "GET big", "EXEC"]
                    .iter()
                    .for_each(|line| client.send_line(line));
                client.read_many(4);
            }
            // Amid the element that it waited for.
            2 => {
                client.send_line("BLPOP q 0");
                wait_for_blocked(&server.addr(), 1);
                other.call(&["RPUSH", "q", &element]);
            }
            // Amid the queueing of a large transaction.
            _ => {
                client.send_line("MULTI");
                client.send_bytes(&frame(&["SET", "never", &element])[..1 << 20]);
            }
        }
        drop(client);
        assert_eq!(other.cmd("INCR n").int(), round + 1);
        assert_eq!(other.cmd("GET never"), Value::Nil);
        wait_for_blocked(&server.addr(), 0);
    }
    nothing_is_held(&proxy);
}

/// Defect: a connection goes back to the idle ones while its pop may still run, or with bytes unread.
#[test]
fn a_connection_that_said_more_than_was_asked_is_never_used_again() {
    let fake = Fake::start(|request| match request.name().as_str() {
        "LPOP" | "ZPOPMIN" => Action::line("$-1"),
        "BLPOP" if request.nth % 2 == 1 => {
            Action::Reply(b"*2\r\n$1\r\nk\r\n$4\r\nmine\r\n*2\r\n$1\r\nk\r\n$6\r\nothers\r\n".to_vec())
        }
        "BLPOP" => Action::Reply(b"*2\r\n$1\r\nk\r\n$4\r\nmine\r\n".to_vec()),
        _ => Action::line("+OK"),
    });
    let proxy = Options::cluster(&[format!("redis://{}", fake.addr())]).eager().start();
    for _ in 0..10 {
        let mut client = proxy.client();
        client.send_line("BLPOP k 0");
        client.send_line("ECHO next");
        assert_eq!(client.read().items()[1].text(), "mine");
        assert_eq!(client.read().text(), "next");
    }
    assert_eq!(proxy.metric("private_dirty"), 5);
}

/// Defect: `timeout` cut clients in Pub/Sub, MONITOR and running requests.
#[test]
fn idle_timeout_cuts_none_who_listens_or_waits() {
    let (server, proxy) = start(&["clients.idle_timeout=1s"]);
    let (mut subscriber, mut monitor, mut waiter) = (proxy.client(), proxy.client(), proxy.client());
    subscriber.cmd("SUBSCRIBE channel");
    assert_eq!(monitor.cmd("MONITOR").text(), "OK");
    waiter.send_line("BLPOP k 0");
    wait_for_blocked(&server.addr(), 1);
    std::thread::sleep(Duration::from_millis(3_500));
    let mut client = proxy.client();
    assert_eq!(client.cmd("PUBLISH channel hi").int(), 1);
    assert_eq!(subscriber.read().items()[2].text(), "hi");
    client.cmd("RPUSH k x");
    assert_eq!(waiter.read().items()[1].text(), "x");
    eventually("MONITOR goes on", SOON, || monitor.read().text().contains("\"RPUSH\"").then_some(()));
}

/// Defect: option names found in keys, groups and consumers, or only in one case.
#[test]
fn block_is_an_option_in_its_place_only() {
    let theatre = Theatre::both();
    theatre.compare(
        "a: XREAD COUNT 1 STREAMS b 0
         a: XREAD COUNT 1 STREAMS block 0
         a: XREAD STREAMS {q}block {q}b 0 0
         a: XREAD Block 10 STREAMS b 0
         a: XREAD COUNT 1 Block 10 STREAMS block 0
         b: XADD b 1-1 block streams
         a: XREAD Block 0 STREAMS b 0
         a: XREAD STREAMS b 0
         b: XGROUP CREATE b BLOCK 0
         a: XREADGROUP GROUP BLOCK Block COUNT 1 STREAMS b >
         a: XREADGROUP GROUP BLOCK Block Block 10 COUNT 1 STREAMS b >",
    );
}

/// Defects: EXEC that runs though a watched key was written, SCAN that joins shards and loses keys (153 of 500 seen); and
/// of ours: a watch that ended when a blocking command's time did.
#[test]
fn a_watch_is_kept_and_a_scan_finds_every_key_over_three_shards() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let mut other = proxy.client();
    let expected: BTreeSet<String> = (0..500).map(|number| format!("key:{number}")).collect();
    write_all(&mut other, &expected);
    for protocol in [2, 3] {
        let mut client = Raw::speaking(&proxy.addr(), protocol);
        for options in ["", "COUNT 1000", "COUNT 3 MATCH key:*"] {
            let found = scan(&mut client, options, |_| ());
            assert_eq!(found, expected, "RESP{protocol} {options}");
        }
        for key in ["key:1", "key:2", "key:3"] {
            for (write, runs) in [("PING", true), ("SET key:9 x", true), (&*format!("SET {key} y"), false)] {
                client.cmd(&format!("WATCH {key}"));
                other.cmd(write);
                assert_eq!(client.cmd("BLPOP none 0.01"), Value::Nil);
                ["MULTI", &format!("GET {key}")].iter().for_each(|line| drop(client.cmd(line)));
                assert_eq!(client.cmd("EXEC") != Value::Nil, runs, "RESP{protocol} {key} {write}");
            }
        }
    }
}

/// Defects: "empty \r\n packets swallow the next reply", "pending replies are flushed before a close".
#[test]
fn empty_lines_swallow_nothing_and_quit_comes_last() {
    let (server, proxy) = start(&[]);
    for addr in [server.addr(), proxy.addr()] {
        let mut client = Raw::connect(&addr);
        client.send_bytes(
            b"\r\nMULTI\r\n\r\nSET k 1\r\n\r\n\r\nEXEC\r\n\r\nBLPOP l 0.05\r\n\r\nPING\r\nQUIT\r\n",
        );
        let told = client.read_to_close();
        let right: &[u8] = b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n*-1\r\n+PONG\r\n+OK\r\n";
        assert_eq!(told.escape_ascii().to_string(), right.escape_ascii().to_string(), "{addr}");
    }
    assert_eq!(blocked_at(&server.addr()), 0);
}
