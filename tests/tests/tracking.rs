//! CLIENT TRACKING through the proxy: a client's cache is told of every change to what it read, whichever node tells.

use std::collections::{HashMap, VecDeque};
use std::thread::spawn;
use std::time::{Duration, Instant};

use slotway_tests::cluster::Cluster;
use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::server::{Kind, Server};
use slotway_tests::value::Value;

const SOON: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_millis(300);

/// A client that tells pushes from replies.
struct Tracker {
    raw: Raw,
    pushes: VecDeque<Option<String>>,
}

impl Tracker {
    /// Speaks RESP3 and has said `line`.
    fn start(proxy: &Proxy, line: &str) -> Self {
        let mut tracker = Self { raw: Raw::speaking(&proxy.addr(), 3), pushes: VecDeque::new() };
        assert_eq!(tracker.cmd(line).text(), "OK");
        tracker
    }

    fn cmd(&mut self, line: &str) -> Value {
        self.raw.send_line(line);
        self.reply()
    }

    fn reply(&mut self) -> Value {
        loop {
            match self.raw.read() {
                Value::Push(items) => self.note(&items),
                reply => return reply,
            }
        }
    }

    /// The next key that is told of; `None`: all.
    #[track_caller]
    fn told(&mut self) -> Option<String> {
        while self.pushes.is_empty() {
            match self.raw.read() {
                Value::Push(items) => self.note(&items),
                other => panic!("{other:?} and no push"),
            }
        }
        self.pushes.pop_front().expect("one came")
    }

    fn note(&mut self, items: &[Value]) {
        assert_eq!(items[0].text(), "invalidate");
        match &items[1] {
            Value::Nil => self.pushes.push_back(None),
            keys => self.pushes.extend(keys.items().iter().map(|key| Some(key.text()))),
        }
    }

    #[track_caller]
    fn is_told_nothing(&mut self) {
        assert_eq!(self.pushes, []);
        assert!(self.raw.is_silent_for(QUIET), "something was told");
    }
}

fn cluster() -> (Cluster, Proxy) {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    (cluster, proxy)
}

fn standalone() -> (Server, Proxy) {
    let server = Server::start();
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).start();
    (server, proxy)
}

fn metric(client: &mut Raw, name: &str) -> u64 {
    let info = client.cmd("INFO slotway").text();
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {info}"))
}

#[test]
fn what_others_write_is_told_by_every_shard_until_tracking_ends() {
    let (cluster, proxy) = cluster();
    let keys: Vec<String> = (0..3).map(|node| cluster.key_on(node, "k")).collect();
    let (mut tracker, mut other) = (Tracker::start(&proxy, "CLIENT TRACKING ON"), proxy.client());
    let mut second = Tracker::start(&proxy, "CLIENT TRACKING ON");
    for (index, key) in keys.iter().enumerate() {
        assert_eq!(tracker.cmd(&format!("GET {key}")), Value::Nil);
        assert_eq!(other.cmd(&format!("SET {key} {index}")).text(), "OK");
        assert_eq!(tracker.told().as_ref(), Some(key));
        assert_eq!(tracker.cmd(&format!("GET {key}")).text(), index.to_string());
    }
    second.is_told_nothing();
    assert_eq!(metric(&mut other, "pinned_tracking"), 2);
    assert_eq!(metric(&mut other, "private_connections"), 3);
    let own = tracker.cmd("CLIENT INFO").text();
    assert!(own.contains(" flags=t ") && own.contains(" pin=tracking "), "{own}");
    assert_eq!(tracker.cmd("CLIENT GETREDIR").int(), 0);
    assert_eq!(tracker.cmd("CLIENT TRACKING OFF").text(), "OK");
    assert_eq!(tracker.cmd("CLIENT GETREDIR").int(), -1);
    for key in &keys {
        other.cmd(&format!("SET {key} x"));
    }
    tracker.is_told_nothing();
    assert!(other.is_silent_for(QUIET));
    drop(second);
    eventually("all is closed", SOON, || {
        let left = metric(&mut other, "pinned_tracking") + metric(&mut other, "private_connections");
        (left == 0).then_some(())
    });
}

#[test]
fn own_writes_are_told_unless_noloop() {
    for server in [false, true] {
        let own;
        let proxy = if server {
            let (server, proxy) = standalone();
            own = (Some(server), None);
            proxy
        } else {
            let (cluster, proxy) = cluster();
            own = (None, Some(cluster));
            proxy
        };
        let mut looped = Tracker::start(&proxy, "CLIENT TRACKING ON");
        let mut silent = Tracker::start(&proxy, "CLIENT TRACKING ON NOLOOP");
        let mut broadcast = Tracker::start(&proxy, "CLIENT TRACKING ON BCAST NOLOOP");
        for tracker in [&mut looped, &mut silent] {
            tracker.cmd("GET k");
        }
        looped.cmd("SET k 1");
        for tracker in [&mut looped, &mut silent, &mut broadcast] {
            assert_eq!(tracker.told().as_deref(), Some("k"));
        }
        silent.cmd("GET k");
        silent.cmd("SET k 2");
        assert_eq!(broadcast.told().as_deref(), Some("k"));
        silent.cmd("GET k");
        silent.cmd("MULTI");
        silent.cmd("SET k 3");
        assert_eq!(silent.cmd("EXEC").items().len(), 1);
        silent.is_told_nothing();
        assert_eq!(broadcast.told().as_deref(), Some("k"));
        broadcast.cmd("SET k 4");
        broadcast.is_told_nothing();
        drop(own);
    }
}

#[test]
fn a_broadcast_tells_of_every_key_with_the_prefix() {
    let (cluster, proxy) = cluster();
    let mut tracker = Tracker::start(&proxy, "CLIENT TRACKING ON BCAST PREFIX user:");
    let mut other = proxy.client();
    assert_eq!(metric(&mut other, "private_connections"), 3);
    for node in 0..3 {
        let (key, foreign) = (cluster.key_on(node, "user:"), cluster.key_on(node, "job:"));
        other.cmd(&format!("SET {foreign} v"));
        other.cmd(&format!("SET {key} v"));
        assert_eq!(tracker.told(), Some(key));
    }
    assert_eq!(tracker.cmd("CLIENT TRACKING ON BCAST PREFIX job:").text(), "OK");
    assert_eq!(tracker.told(), None, "told anew");
    let key = cluster.key_on(1, "job:");
    other.cmd(&format!("SET {key} w"));
    assert_eq!(tracker.told(), Some(key));
    let info = tracker.cmd("CLIENT TRACKINGINFO");
    assert_eq!(info.field("prefixes").items().len(), 2);
    let flags: Vec<String> = info.field("flags").items().iter().map(Value::text).collect();
    assert_eq!(flags, ["on", "bcast"]);
    let own = tracker.cmd("CLIENT INFO").text();
    assert!(own.contains(" flags=tB "), "{own}");
}

#[test]
fn more_keys_at_once_than_are_kept_make_the_client_forget_all() {
    let (cluster, proxy) = cluster();
    let mut tracker = Tracker::start(&proxy, "CLIENT TRACKING ON BCAST NOLOOP");
    let (mut other, name) = (proxy.client(), cluster.key_on(0, "many"));
    let mut mset = vec!["MSET".to_owned()];
    for number in 0..10_000 {
        mset.extend([format!("{{{name}}}:{number:040}"), "v".to_owned()]);
    }
    assert_eq!(other.call(&mset).text(), "OK");
    assert_eq!(tracker.told(), None);
    other.cmd(&format!("SET {name} v"));
    assert_eq!(tracker.told(), Some(name), "what comes behind it is whole");
    assert_eq!(tracker.cmd("PING").text(), "PONG");
    assert_eq!(metric(&mut other, "private_lost"), 0);
}

#[test]
fn a_frozen_shard_costs_a_command_its_time_and_no_more() {
    let cluster = Cluster::start();
    let toml = "[cluster]\ncommand_timeout = \"1s\"\nconnect_timeout = \"500ms\"\n";
    let proxy = Options::cluster(&cluster.urls()).config(toml).start();
    let (frozen, other) = (cluster.key_on(0, "k"), cluster.key_on(1, "k"));
    let mut tracker = Tracker::start(&proxy, "CLIENT TRACKING ON");
    tracker.cmd(&format!("GET {frozen}"));
    cluster.node(0).freeze();
    let error = tracker.cmd(&format!("GET {frozen}")).error();
    cluster.node(0).thaw();
    assert_eq!(error, "ERR slotway: timed out, the command may have run");
    assert_eq!(tracker.cmd(&format!("GET {other}")), Value::Nil);
    assert_eq!(tracker.told(), None, "the connection was given up");
}

/// Reads at random and keeps what it read until it is told of a change, while others write.
fn storm(proxy: &Proxy, mode: &str) {
    const KEYS: u32 = 40;
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let mut client = proxy.client();
            spawn(move || {
                let end = Instant::now() + Duration::from_secs(2);
                for number in 0.. {
                    if Instant::now() > end {
                        return number;
                    }
                    let key = fastrand::u32(..KEYS);
                    let length = if fastrand::u8(..50) == 0 { 60_000 } else { 8 };
                    let value = format!("{writer}-{number:0length$}");
                    client.cmd(&format!("SET key:{key} {value}"));
                }
                0
            })
        })
        .collect();
    let mut tracker = Tracker::start(proxy, mode);
    let mut cache: HashMap<String, Value> = HashMap::new();
    let (mut reads, mut told) = (0, 0);
    while writers.iter().any(|writer| !writer.is_finished()) || reads < 100 {
        let keys: Vec<String> =
            (0..fastrand::usize(1..8)).map(|_| format!("key:{}", fastrand::u32(..KEYS))).collect();
        keys.iter().for_each(|key| tracker.raw.send_line(&format!("GET {key}")));
        for key in keys {
            let value = tracker.reply();
            reads += 1;
            // What was told in front of the reply is older than the reply.
            told += forget(&mut tracker.pushes, &mut cache);
            cache.insert(key, value);
        }
    }
    assert!(writers.into_iter().map(|writer| writer.join().unwrap()).sum::<usize>() > 100);
    while !tracker.raw.is_silent_for(QUIET) {
        match tracker.raw.read() {
            Value::Push(items) => tracker.note(&items),
            other => panic!("{other:?}"),
        }
    }
    told += forget(&mut tracker.pushes, &mut cache);
    assert!(told > 20 && !cache.is_empty(), "{told} told, {} kept", cache.len());
    let mut other = proxy.client();
    for (key, value) in cache {
        let now = other.cmd(&format!("GET {key}"));
        assert!(now == value || (now.is_error() && value.is_error()), "{key} is stale");
    }
}

fn forget(pushes: &mut VecDeque<Option<String>>, cache: &mut HashMap<String, Value>) -> usize {
    let count = pushes.len();
    for key in pushes.drain(..) {
        match key {
            Some(key) => drop(cache.remove(&key)),
            None => cache.clear(),
        }
    }
    count
}

#[test]
fn no_stale_value_is_kept_under_a_storm() {
    let (_cluster, proxy) = cluster();
    storm(&proxy, "CLIENT TRACKING ON");
    storm(&proxy, "CLIENT TRACKING ON BCAST PREFIX key:");
}

#[test]
fn a_lost_connection_makes_the_client_forget_and_tracking_goes_on() {
    let (cluster, proxy) = cluster();
    let key = cluster.key_on(0, "k");
    for mode in ["CLIENT TRACKING ON", "CLIENT TRACKING ON BCAST"] {
        let (mut tracker, mut other) = (Tracker::start(&proxy, mode), proxy.client());
        tracker.cmd(&format!("GET {key}"));
        cluster.node(0).client().cmd("CLIENT KILL TYPE normal SKIPME yes");
        assert_eq!(tracker.told(), None);
        tracker.is_told_nothing();
        tracker.cmd(&format!("GET {key}"));
        eventually("it can be written", SOON, || {
            (!other.cmd(&format!("SET {key} v")).is_error()).then_some(())
        });
        assert_eq!(tracker.told().as_ref(), Some(&key));
        // Told again of its own accord, without a read.
        let written = if mode.ends_with("BCAST") { cluster.key_on(0, "unread") } else { continue };
        other.cmd(&format!("SET {written} v"));
        assert_eq!(tracker.told(), Some(written));
    }
}

#[test]
fn after_a_failover_the_new_primary_tells() {
    let cluster = Cluster::with(Kind::usual(), 3, 1);
    let proxy = Proxy::over(&cluster);
    let key = cluster.key_on(0, "k");
    let mut plain = Tracker::start(&proxy, "CLIENT TRACKING ON");
    let mut broadcast = Tracker::start(&proxy, "CLIENT TRACKING ON BCAST");
    let mut other = proxy.client();
    plain.cmd(&format!("GET {key}"));
    cluster.fail_over_to(3);
    eventually("it can be written", SOON, || (!other.cmd(&format!("SET {key} v")).is_error()).then_some(()));
    let mut told = vec![plain.told()];
    while told.last() != Some(&None) && told.len() < 10 {
        told.push(plain.told());
    }
    assert_eq!(told.last(), Some(&None), "{told:?}");
    while broadcast.told().is_some() {}
    assert_eq!(plain.cmd(&format!("GET {key}")).text(), "v");
    for number in 0..2 {
        // Somewhat later all is told by the new primary.
        eventually("the new primary tells", SOON, || {
            plain.cmd(&format!("GET {key}"));
            plain.pushes.clear();
            other.cmd(&format!("SET {key} {number}"));
            (plain.told().as_ref() == Some(&key)).then_some(())
        });
        eventually("it tells all", SOON, || (broadcast.told().as_ref() == Some(&key)).then_some(()));
    }
}

#[test]
fn replies_of_a_pipeline_come_in_its_order() {
    let (cluster, proxy) = cluster();
    let keys: Vec<String> = (0..3).map(|node| cluster.key_on(node, "p")).collect();
    let mut tracker = Tracker::start(&proxy, "CLIENT TRACKING ON NOLOOP");
    for round in 0..50 {
        for key in &keys {
            tracker.raw.send_line(&format!("INCR {key}"));
            tracker.raw.send_line("PING");
            tracker.raw.send_line("DBSIZE");
            tracker.raw.send_line(&format!("GET {key}"));
        }
        for _ in &keys {
            assert_eq!(tracker.reply().int(), round + 1);
            assert_eq!(tracker.reply().text(), "PONG");
            assert!(tracker.reply().int() > 0);
            assert_eq!(tracker.reply().text(), (round + 1).to_string());
        }
    }
    assert_eq!(tracker.pushes, []);
}

#[test]
fn blocking_and_watching_go_over_the_same_connections() {
    let (_cluster, proxy) = cluster();
    let (mut tracker, mut other) = (Tracker::start(&proxy, "CLIENT TRACKING ON NOLOOP"), proxy.client());
    tracker.cmd("GET {a}k");
    tracker.raw.send_line("BLPOP {a}list 0");
    eventually("it waits", SOON, || (metric(&mut other, "blocked_clients") == 1).then_some(()));
    other.cmd("SET {a}k v");
    assert_eq!(tracker.told().as_deref(), Some("{a}k"), "also while it waits");
    other.cmd("RPUSH {a}list x");
    assert_eq!(tracker.reply().items().len(), 2);
    assert_eq!(tracker.cmd("BLPOP {a}list 0.2"), Value::Nil);
    tracker.is_told_nothing();
    assert_eq!(tracker.cmd("WATCH {a}k").text(), "OK");
    assert_eq!(metric(&mut other, "private_connections"), 1);
    tracker.cmd("GET {a}k");
    other.cmd("SET {a}k w");
    assert_eq!(tracker.told().as_deref(), Some("{a}k"));
    tracker.cmd("MULTI");
    tracker.cmd("GET {a}k");
    assert_eq!(tracker.cmd("EXEC"), Value::Nil);
    tracker.cmd("MULTI");
    tracker.cmd("GET {a}k");
    assert_eq!(tracker.cmd("EXEC").items()[0].text(), "w");
    other.cmd("SET {a}k x");
    assert_eq!(tracker.told().as_deref(), Some("{a}k"), "read in the transaction");
    assert_eq!(metric(&mut other, "private_connections"), 1);
    for line in ["BLPOP {a}list {b}list {c}list 1", "MGET {a}k {b}k {c}k", "DEL {a}k {b}k {c}k"] {
        assert!(tracker.cmd(line).error().starts_with("CROSSSLOT"), "{line}");
    }
}

#[test]
fn leaving_resp3_or_the_database_makes_the_client_forget() {
    let (_server, proxy) = standalone();
    let mut other = proxy.client();
    let mut tracker = Tracker::start(&proxy, "CLIENT TRACKING ON");
    tracker.cmd("GET k");
    assert_eq!(tracker.cmd("SELECT 1").text(), "OK");
    assert_eq!(tracker.told(), None);
    tracker.cmd("GET k");
    other.cmd("SELECT 1");
    other.cmd("SET k v");
    assert_eq!(tracker.told().as_deref(), Some("k"));
    assert!(!tracker.cmd("HELLO 2").is_error());
    assert_eq!(tracker.told(), None);
    assert_eq!(metric(&mut other, "pinned_tracking"), 0);
    tracker.cmd("GET k");
    other.cmd("SET k w");
    tracker.is_told_nothing();
    let mut tracker = Tracker::start(&proxy, "CLIENT TRACKING ON BCAST");
    assert_eq!(tracker.cmd("RESET").text(), "RESET");
    other.cmd("SET k x");
    tracker.is_told_nothing();
}

#[test]
fn at_a_limit_a_command_waits_and_is_refused() {
    let cluster = Cluster::start();
    let toml = "[private]\nmax_connections = 1\n[cluster]\ncommand_timeout = \"500ms\"\nconnect_timeout = \"500ms\"\n";
    let proxy = Options::cluster(&cluster.urls()).config(toml).start();
    let (a, b) = (cluster.key_on(0, "k"), cluster.key_on(1, "k"));
    let mut tracker = Tracker::start(&proxy, "CLIENT TRACKING ON");
    assert_eq!(tracker.cmd(&format!("GET {a}")), Value::Nil);
    let refused = "ERR slotway: no private connection is free";
    let began = Instant::now();
    assert_eq!(tracker.cmd(&format!("GET {b}")).error(), refused);
    assert!(began.elapsed() >= Duration::from_millis(400));
    let mut second = Raw::speaking(&proxy.addr(), 3);
    assert_eq!(second.cmd("CLIENT TRACKING ON BCAST").error(), refused);
    assert_eq!(second.cmd("CLIENT GETREDIR").int(), -1, "it is off");
    assert_eq!(tracker.cmd("CLIENT TRACKING OFF").text(), "OK");
    assert_eq!(tracker.cmd(&format!("GET {b}")), Value::Nil);
}

#[test]
fn what_a_server_refuses_is_refused_in_its_words() {
    let (server, proxy) = standalone();
    let (mut direct, mut through) = (Raw::speaking(&server.addr(), 3), Raw::speaking(&proxy.addr(), 3));
    for line in [
        "CLIENT CACHING YES",
        "CLIENT TRACKING ON",
        "CLIENT CACHING YES",
        "CLIENT CACHING NO",
        "CLIENT CACHING X",
        "CLIENT TRACKING ON BCAST",
        "CLIENT TRACKINGINFO",
        "CLIENT TRACKING OFF",
        "CLIENT TRACKING ON PREFIX a",
        "CLIENT TRACKING ON FOO",
        "CLIENT TRACKING ON PREFIX",
        "CLIENT TRACKING MAYBE",
        "CLIENT TRACKING ON BCAST PREFIX a PREFIX ab",
        "CLIENT TRACKING ON BCAST OPTIN",
        "CLIENT TRACKING ON OPTIN OPTOUT",
        "CLIENT TRACKING OFF FOO",
        "CLIENT TRACKING",
        "CLIENT TRACKINGINFO",
        "CLIENT GETREDIR",
        "CLIENT TRACKING ON BCAST PREFIX a",
        "CLIENT TRACKING ON BCAST PREFIX ab",
        "CLIENT TRACKING ON",
        "CLIENT TRACKINGINFO",
        "CLIENT GETREDIR",
    ] {
        assert_eq!(direct.cmd(line), through.cmd(line), "{line}");
    }
    assert_eq!(through.cmd("CLIENT TRACKING OFF").text(), "OK");
    let mut resp2 = proxy.client();
    for (line, why) in [
        ("CLIENT TRACKING ON", "RESP3"),
        ("CLIENT TRACKING ON REDIRECT 1", "REDIRECT"),
        ("CLIENT TRACKING ON OPTIN", "OPTIN"),
        ("CLIENT TRACKING ON OPTOUT", "OPTOUT"),
    ] {
        let client = if why == "RESP3" { &mut resp2 } else { &mut through };
        let error = client.cmd(line).error();
        assert!(error.starts_with("ERR slotway: ") && error.contains(why), "{line}: {error}");
        assert_eq!(client.cmd("CLIENT GETREDIR").int(), -1, "{line}");
    }
}
