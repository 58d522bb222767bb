//! Private connections: how many there may be, how they are shared one after the other, and that nothing of
//! one client is left in one for the next.

use std::env;
use std::time::{Duration, Instant};

use fastrand::Rng;
use slotway_tests::play::{blocked_at, wait_for_blocked};
use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::server::{Kind, Server};
use slotway_tests::value::Value;

const SOON: Duration = Duration::from_secs(10);

/// A server and the proxy before it, with one worker where caps are counted.
fn start(sets: &[&str]) -> (Server, Proxy) {
    // Timeouts are looked for `hz` times a second: short ones take no longer than they say.
    let server = Server::with(Kind::usual(), &[("hz", "500")]);
    let options = Options::standalone(&format!("redis://{}", server.addr()));
    let proxy = options.flag("--threads", "1").set(sets).start();
    (server, proxy)
}

/// `count` clients that wait in the server, each for a key of its own (`k0`, `k1` ...).
#[track_caller]
fn blocked(server: &Server, proxy: &Proxy, count: usize) -> Vec<Raw> {
    let mut clients: Vec<Raw> = (0..count).map(|_| proxy.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send_line(&format!("BLPOP k{number} 0"));
    }
    wait_for_blocked(&server.addr(), count);
    clients
}

#[track_caller]
fn metric_becomes(proxy: &Proxy, name: &str, value: u64) {
    let mut last = 0;
    let reached = slotway_tests::poll::try_eventually(SOON, || {
        last = proxy.metric(name);
        (last == value).then_some(())
    });
    assert!(reached.is_some(), "{name} is {last}, not {value}");
}

#[test]
fn at_the_cap_a_client_waits_within_its_own_time() {
    for cap in ["private.max_per_node=3", "private.max_connections=3"] {
        let (server, proxy) = start(&[cap]);
        let _blocked = blocked(&server, &proxy, 3);
        let mut late = proxy.client();
        let start = Instant::now();
        late.send_line("BLPOP late 0.5");
        metric_becomes(&proxy, "private_waiting", 1);
        assert_eq!(late.read(), Value::Nil, "{cap}");
        let took = start.elapsed();
        assert!((Duration::from_millis(498)..Duration::from_millis(800)).contains(&took), "{cap}: {took:?}");
        assert_eq!(blocked_at(&server.addr()), 3, "{cap}");
        metric_becomes(&proxy, "private_waiting", 0);
        assert_eq!(late.cmd("PING").text(), "PONG");
    }
}

#[test]
fn at_the_cap_a_client_is_served_when_a_place_becomes_free() {
    for cap in ["private.max_per_node=3", "private.max_connections=3"] {
        let (server, proxy) = start(&[cap]);
        let mut holders = blocked(&server, &proxy, 3);
        let mut late: Vec<Raw> = (0..3).map(|_| proxy.client()).collect();
        for (number, client) in late.iter_mut().enumerate() {
            client.send_line(&format!("BLPOP late{number} 0"));
            metric_becomes(&proxy, "private_waiting", number as u64 + 1);
        }
        let mut direct = server.client();
        // One place by an answer, one by a client that goes; first come, first served.
        direct.cmd("RPUSH k0 x");
        assert_eq!(holders[0].read().items()[1].text(), "x");
        metric_becomes(&proxy, "private_waiting", 2);
        direct.cmd("RPUSH late0 first");
        assert_eq!(late[0].read().items()[1].text(), "first", "{cap}");
        drop(holders.remove(1));
        metric_becomes(&proxy, "private_waiting", 0);
        wait_for_blocked(&server.addr(), 3);
        for (number, client) in late.iter_mut().enumerate().skip(1) {
            direct.cmd(&format!("RPUSH late{number} x"));
            assert_eq!(client.read().items()[1].text(), "x", "{cap}");
        }
    }
}

#[test]
fn at_the_cap_a_client_is_served_when_its_element_comes() {
    let (server, proxy) = start(&["private.max_per_node=2"]);
    let _blocked = blocked(&server, &proxy, 2);
    let mut late = proxy.client();
    late.send_line("BLPOP late 30");
    metric_becomes(&proxy, "private_waiting", 1);
    server.client().cmd("RPUSH late x");
    late.set_patience(SOON);
    assert_eq!(late.read().items()[1].text(), "x", "all places are taken, but its element is there");
    metric_becomes(&proxy, "private_waiting", 0);
    let mut unblocked = proxy.client();
    let id = unblocked.cmd("CLIENT ID").int();
    unblocked.send_line("BLPOP late 0");
    metric_becomes(&proxy, "private_waiting", 1);
    assert_eq!(proxy.client().cmd(&format!("CLIENT UNBLOCK {id}")).int(), 1, "it waits, if for a place");
    assert_eq!(unblocked.read(), Value::Nil);
    metric_becomes(&proxy, "private_waiting", 0);
    unblocked.send_line("BLPOP late 0");
    metric_becomes(&proxy, "private_waiting", 1);
    drop(unblocked);
    metric_becomes(&proxy, "private_waiting", 0);
}

#[test]
fn at_the_cap_a_client_is_refused_where_that_is_configured() {
    let (server, proxy) = start(&["private.max_per_node=2", "private.at_limit=refuse"]);
    let mut holders = blocked(&server, &proxy, 2);
    let mut late = proxy.client();
    let refusal = "ERR slotway: no private connection is free";
    for line in ["BLPOP late 0", "BLPOP late 0.1", "WATCH w", "XREAD BLOCK 0 STREAMS s $"] {
        assert_eq!(late.cmd(line).error(), refusal, "{line}");
    }
    assert_eq!(proxy.metric("private_refused"), 4);
    late.cmd("RPUSH late there");
    assert_eq!(late.cmd("BLPOP late 0").items()[1].text(), "there", "what is there needs no place");
    holders.pop();
    wait_for_blocked(&server.addr(), 1);
    late.send_line("BLPOP late 0");
    wait_for_blocked(&server.addr(), 2);
}

#[test]
fn an_idle_connection_is_used_again_and_closed_after_its_time() {
    let (server, proxy) = start(&["private.idle_timeout=1s"]);
    let (mut client, mut pusher) = (proxy.client(), proxy.client());
    let opened = proxy.metric("private_opened");
    for round in 0..20 {
        client.send_line("BLPOP k 0");
        wait_for_blocked(&server.addr(), 1);
        pusher.cmd(&format!("RPUSH k {round}"));
        assert_eq!(client.read().items()[1].text(), round.to_string());
        metric_becomes(&proxy, "private_connections", 0);
    }
    assert_eq!(proxy.metric("private_opened"), opened + 1);
    assert_eq!(proxy.metric("private_reused"), 19);
    assert_eq!(client.cmd("BLPOP k 0.02"), Value::Nil, "a timeout leaves a clean connection");
    assert_eq!(proxy.metric("private_opened"), opened + 1);
    metric_becomes(&proxy, "private_idle", 1);
    let count = || server.info("connected_clients").and_then(|count| count.parse::<usize>().ok());
    let with_idle = count();
    metric_becomes(&proxy, "private_idle", 0);
    eventually("the server knows it too", SOON, || (count() < with_idle).then_some(()));
}

#[test]
fn at_most_so_many_stay_idle() {
    let (server, proxy) = start(&["private.idle_per_node=2"]);
    let mut clients = blocked(&server, &proxy, 6);
    let mut pusher = proxy.client();
    for (number, client) in clients.iter_mut().enumerate() {
        pusher.cmd(&format!("RPUSH k{number} x"));
        assert_eq!(client.read().items()[1].text(), "x");
    }
    metric_becomes(&proxy, "private_connections", 0);
    metric_becomes(&proxy, "private_idle", 2);
}

#[test]
fn others_are_answered_at_once_while_many_wait() {
    const WAITING: usize = 300;
    let (server, proxy) = start(&[]);
    let _blocked = blocked(&server, &proxy, WAITING);
    let mut client = proxy.client();
    client.cmd("SET k v");
    let mut times: Vec<Duration> = (0..300)
        .map(|_| {
            let start = Instant::now();
            assert_eq!(client.cmd("GET k").text(), "v");
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("median {:?}, longest {:?}", times[150], times[299]);
    assert!(times[150] < Duration::from_millis(20), "{:?}", times[150]);
    assert_eq!(blocked_at(&server.addr()), WAITING);
}

#[test]
fn a_connection_that_watches_goes_to_no_other_client() {
    let (server, proxy) = start(&[]);
    let mut client = proxy.client();
    let id = client.cmd("CLIENT ID").int();
    assert_eq!(client.cmd("WATCH k").text(), "OK");
    client.send_line("BLPOP none 0");
    wait_for_blocked(&server.addr(), 1);
    let mut other = proxy.client();
    // Its connection is told to unblock, so it can't be kept.
    assert_eq!(other.cmd(&format!("CLIENT UNBLOCK {id}")).int(), 1);
    assert_eq!(client.read(), Value::Nil);
    assert_eq!(other.cmd("SET k changed").text(), "OK");
    for number in 0..4 {
        let mut next = proxy.client();
        next.cmd("WATCH mine");
        next.cmd("MULTI");
        next.cmd("SET mine v");
        assert_eq!(next.cmd("EXEC").items().len(), 1, "client {number}");
    }
    client.cmd("MULTI");
    client.cmd("SET k mine");
    assert_eq!(client.cmd("EXEC"), Value::Nil);
}

/// Whatever a client did, one that comes after it finds nothing of it.
#[test]
fn nothing_of_one_client_is_left_for_the_next() {
    let seed =
        env::var("SLOTWAY_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}: replay with SLOTWAY_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let (server, proxy) = start(&["private.idle_per_node=4"]);
    let mut direct = server.client();
    for round in 0..150 {
        direct.cmd("FLUSHALL");
        let mut client = proxy.client();
        let mut done = Vec::new();
        for _ in 0..rng.usize(1..12) {
            let operation = rng.choice(OPERATIONS).expect("some");
            done.push(*operation);
            client.send_line(operation);
        }
        if rng.bool() {
            // Long enough for some to wait; not long enough for all to be answered.
            client.set_patience(Duration::from_millis(rng.u64(1..30)));
            let _ = client.try_frame();
        }
        drop(client);
        wait_for_blocked(&server.addr(), 0);
        fresh(&proxy, &mut direct, &format!("round {round} of seed {seed}, after {done:?}"));
    }
    println!("{} dirty, {} used again", proxy.metric("private_dirty"), proxy.metric("private_reused"));
    assert!(proxy.metric("private_reused") > 0, "nothing was ever used again: nothing was tested");
}

/// What a client may leave behind.
const OPERATIONS: &[&str] = &[
    "SELECT 3",
    "SELECT 0",
    "WATCH k w",
    "UNWATCH",
    "MULTI",
    "EXEC",
    "DISCARD",
    "SET k theirs",
    "NOSUCH",
    "HELLO 3",
    "HELLO 2",
    "CLIENT SETNAME theirs",
    "CLIENT REPLY SKIP",
    "CLIENT REPLY OFF",
    "CLIENT NO-EVICT ON",
    "BLPOP none 0.003",
    "BLPOP none 0",
    "BZPOPMIN none 0.002",
    "XREAD BLOCK 2 STREAMS none $",
    "BLPOP l 0",
    "RPUSH l theirs",
    "RESET",
];

/// Clients that use private connections in every way find a server as if nobody had been there.
#[track_caller]
fn fresh(proxy: &Proxy, direct: &mut Raw, after: &str) {
    for _ in 0..2 {
        let mut client = proxy.client();
        // A key that no request of the last client's, still under way, can touch.
        let key = format!("mine:{:x}", fastrand::u64(..));
        client.send_line("BLPOP none 0.001");
        assert_eq!(client.read_frame(), b"*-1\r\n", "RESP2's nil, {after}");
        assert_eq!(client.cmd(&format!("WATCH {key}")).text(), "OK", "{after}");
        assert_eq!(client.cmd(&format!("GET {key}")), Value::Nil, "{after}");
        assert_eq!(client.cmd("MULTI").text(), "OK", "{after}");
        assert_eq!(client.cmd(&format!("SET {key} mine")).text(), "QUEUED", "{after}");
        assert_eq!(client.cmd("EXEC"), Value::Array(vec![Value::Simple(b"OK".to_vec())]), "{after}");
        assert_eq!(direct.cmd(&format!("GETDEL {key}")).text(), "mine", "in database 0, {after}");
        let named = direct.cmd("CLIENT LIST").text();
        assert!(!named.contains("name=theirs"), "{after}: {named}");
        client.cmd("HELLO 3");
        client.send_line("BLPOP none 0.001");
        assert_eq!(client.read_frame(), b"_\r\n", "RESP3's nil, {after}");
    }
}
