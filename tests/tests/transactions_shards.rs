//! Transactions whose keys are in several slots: answered as by one server, run by every shard or by none as far as that
//! can be had, and guarded by WATCH on each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use slotway::cluster::slot::Slot;
use slotway_tests::argv::{frame, words};
use slotway_tests::cluster::Cluster;
use slotway_tests::fake::{Action, Fake, Received, Script};
use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::server::Server;
use slotway_tests::value::Value;

const SOON: Duration = Duration::from_secs(10);

/// Says every line and gives every reply.
fn say(client: &mut Raw, lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| client.cmd(line)).collect()
}

/// MULTI, the lines, EXEC; the last reply, after the others were as they should be.
#[track_caller]
fn transact(client: &mut Raw, lines: &[String]) -> Value {
    assert_eq!(client.cmd("MULTI").text(), "OK");
    for line in lines {
        assert_eq!(client.cmd(line).text(), "QUEUED", "{line}");
    }
    client.cmd("EXEC")
}

/// Commands over a dozen keys, each in a slot of its own, with errors at run time among them.
fn random_command(random: &mut fastrand::Rng) -> String {
    let mut key = |kind: &str| format!("{kind}{}", random.u8(..4));
    let (text, other, number) = (key("text"), key("text"), key("number"));
    let (list, hash, sorted) = (key("list"), key("hash"), key("sorted"));
    let value = random.u16(..);
    match random.u8(..22) {
        0 | 1 => format!("SET {text} {value}:x"),
        2 => format!("GET {text}"),
        3 | 4 => format!("INCRBY {number} {value}"),
        5 => format!("INCR {text}"),
        6 => format!("RPUSH {list} {value} b"),
        7 => format!("LRANGE {list} 0 -1"),
        8 => format!("LPOP {list}"),
        9 => format!("HSET {hash} f {value}"),
        10 => format!("HGETALL {hash}"),
        11 => format!("ZADD {sorted} {value} m"),
        12 => format!("ZRANGE {sorted} 0 -1 WITHSCORES"),
        13 => format!("MGET {text} {other} {number} none {text}"),
        14 => format!("MSET {text} 1 {other} 2 {number} 3"),
        15 => format!("DEL {text} {list} {other}"),
        16 => format!("EXISTS {text} {text} {number} {hash}"),
        17 => format!("LPUSH {hash} x"),
        18 => "PING".to_owned(),
        19 => format!("EVAL \"return {{KEYS[1], redis.call('TYPE', KEYS[1])}}\" 1 {list}"),
        20 => format!("BLPOP {list} 0"),
        _ => format!("UNLINK {sorted} {hash}"),
    }
}

#[test]
fn random_transactions_over_slots_are_answered_as_by_one_server() {
    let seed = std::env::var("SLOTWAY_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("again with SLOTWAY_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let server = Server::start();
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    for protocol in [2, 3] {
        let mut plain = Raw::speaking(&server.addr(), protocol);
        let mut proxied = Raw::speaking(&proxy.addr(), protocol);
        for number in 0..150 {
            let mut lines = vec!["MULTI".to_owned()];
            lines.extend((0..random.u8(..12)).map(|_| random_command(&mut random)));
            // Now and then one that can't be queued.
            lines.extend((number % 20 == 19).then(|| "GET".to_owned()));
            lines.push("EXEC".to_owned());
            lines.extend([0, 1, 2, 3].map(|key| format!("GET text{key}")));
            let (told, right) = if number % 2 == 0 {
                (say(&mut proxied, &lines), say(&mut plain, &lines))
            } else {
                let bytes: Vec<u8> = lines.iter().flat_map(|line| frame(&words(line))).collect();
                let all = |client: &mut Raw| {
                    client.send_bytes(&bytes);
                    client.read_many(lines.len())
                };
                (all(&mut proxied), all(&mut plain))
            };
            assert_eq!(told, right, "{lines:#?}");
        }
    }
    assert!(proxy.metric("transactions_per_shard") > 100);
    assert_eq!(proxy.metric("transactions_torn"), 0);
}

#[test]
fn what_one_shard_refuses_is_run_by_none() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let mut client = proxy.client();
    let keys = [0, 1, 2].map(|node| cluster.key_on(node, "k"));
    let far = cluster.key_on(0, "far");
    let lines: Vec<String> =
        keys.iter().map(|key| format!("SETEX {key} 1000 v")).chain([format!("INCR {far}")]).collect();
    let nothing_ran = |client: &mut Raw| {
        for key in keys.iter().chain([&far]) {
            assert_eq!(client.cmd(&format!("GET {key}")), Value::Nil, "{key}");
        }
    };
    let mut node = cluster.node(1).client();
    node.cmd("CONFIG SET maxmemory 1");
    let said = transact(&mut client, &lines).error();
    assert!(
        said.starts_with("EXECABORT Transaction discarded because of: OOM command not allowed"),
        "{said}"
    );
    nothing_ran(&mut client);
    node.cmd("CONFIG SET maxmemory 0");
    node.cmd("ACL SETUSER default -setex");
    let said = transact(&mut client, &lines).error();
    assert!(said.starts_with("EXECABORT Transaction discarded because of: NOPERM"), "{said}");
    nothing_ran(&mut client);
    // Watched keys change nothing in that.
    assert_eq!(client.cmd(&format!("WATCH {} {}", keys[0], keys[1])).text(), "OK");
    assert!(transact(&mut client, &lines).error().starts_with("EXECABORT"));
    nothing_ran(&mut client);
    node.cmd("ACL SETUSER default +setex");
    assert_eq!(proxy.metric("transactions_aborted"), 3);
    assert_eq!(transact(&mut client, &lines).items().len(), 4);
    // Refused when it is queued, before any node is asked.
    for refused in ["NOSUCH", "GET", &format!("SUNIONSTORE {} {}", keys[0], keys[1]), "DBSIZE"] {
        client.cmd("MULTI");
        client.cmd(&format!("SET {} w", keys[0]));
        client.cmd(&format!("SET {} w", keys[1]));
        assert!(client.cmd(refused).is_error(), "{refused}");
        assert!(client.cmd("EXEC").error().starts_with("EXECABORT"));
        assert_eq!(client.cmd(&format!("GET {}", keys[0])).text(), "v");
    }
    assert_eq!(proxy.metric("transactions_torn"), 0);
}

#[test]
fn while_slots_move_transactions_over_them_run_once() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let keys = ["a", "b", "c", "d"];
    let stop = Arc::new(AtomicBool::new(false));
    let counter = {
        let (stop, mut client) = (Arc::clone(&stop), proxy.client());
        thread::spawn(move || {
            let (mut done, mut errors) = (0, Vec::new());
            while !stop.load(Ordering::SeqCst) {
                match transact(&mut client, &keys.map(|key| format!("INCR {key}"))) {
                    Value::Array(all) if all.len() == keys.len() => done += 1,
                    other => errors.push(other),
                }
            }
            (done, errors)
        })
    };
    for slot in [Slot::of(b"a"), Slot::of(b"b")] {
        let home = cluster.first_owner(slot);
        let away = (home + 1) % 3;
        cluster.move_slot(slot, home, away);
        thread::sleep(Duration::from_millis(200));
        cluster.move_slot(slot, away, home);
    }
    thread::sleep(Duration::from_millis(200));
    stop.store(true, Ordering::SeqCst);
    let (done, errors) = counter.join().expect("no panic");
    println!("{done} done, errors: {errors:?}");
    assert!(done > 10);
    let mut client = proxy.client();
    let counts = keys.map(|key| client.cmd(&format!("GET {key}")).text().parse::<usize>().expect("a number"));
    let torn = errors.iter().filter(|error| error.error().contains("torn")).count();
    assert!(
        counts.iter().all(|count| (done..=done + torn).contains(count)),
        "{done} done, {counts:?}, {errors:?}"
    );
}

/// A client, the nodes, and watched keys of each kind.
struct Scene<'a> {
    cluster: &'a Cluster,
    client: Raw,
    nodes: [Raw; 3],
    /// Two of the first node, one of the second, which are written.
    written: [String; 3],
    /// One of the third, which is not.
    read: String,
}

impl<'a> Scene<'a> {
    fn new(cluster: &'a Cluster, client: Raw) -> Self {
        let [one, two, three, read] = [(0, "one"), (0, "two"), (1, "three"), (2, "read")]
            .map(|(node, name)| cluster.key_on(node, name));
        let nodes = [0, 1, 2].map(|node| cluster.node(node).client());
        Self { cluster, client, nodes, written: [one, two, three], read }
    }

    /// Each watched key with its node.
    fn watched(&self) -> [(usize, String); 4] {
        let [one, two, three] = self.written.clone();
        [(0, one), (0, two), (1, three), (2, self.read.clone())]
    }

    fn watch(&mut self) {
        let keys: Vec<String> = self.watched().map(|(_, key)| key).into();
        assert_eq!(self.client.cmd(&format!("WATCH {}", keys.join(" "))).text(), "OK");
    }

    fn append(&mut self) -> Value {
        let lines = self.written.each_ref().map(|key| format!("APPEND {key} x"));
        transact(&mut self.client, &lines)
    }

    /// Sets every key to `v`.
    fn set_all(&mut self) {
        for (node, key) in self.watched() {
            assert_eq!(self.nodes[node].cmd(&format!("SET {key} v")).text(), "OK");
        }
    }

    /// Written, removed, or its time over: nothing runs.
    fn conflicts(&mut self) {
        for (node, key) in self.watched() {
            for write in [format!("SET {key} w"), format!("DEL {key}"), "time".to_owned()] {
                self.set_all();
                if write == "time" {
                    self.nodes[node].cmd(&format!("PEXPIRE {key} 40"));
                }
                self.watch();
                if write == "time" {
                    thread::sleep(Duration::from_millis(60));
                } else {
                    self.nodes[node].cmd(&write);
                }
                assert_eq!(self.append(), Value::Nil, "{write}");
                for (own, other) in self.watched() {
                    let left = self.nodes[own].cmd(&format!("GET {other}"));
                    assert!(other == key || left.text() == "v", "{write}: {other} is {left:?}");
                    assert!(left == Value::Nil || left.text().len() == 1, "{write}: {other} is {left:?}");
                }
            }
        }
        // Nobody writes: all of it runs, and then nothing is watched any more.
        self.set_all();
        self.watch();
        assert_eq!(self.append().items(), [Value::Int(2), Value::Int(2), Value::Int(2)]);
        self.nodes[0].cmd(&format!("SET {} v", self.written[0]));
        assert_eq!(self.append().items(), [Value::Int(2), Value::Int(3), Value::Int(3)]);
    }

    /// Watched here and run there, or nothing run at all.
    fn elsewhere(&mut self) {
        let ([one, _, three], read) = (self.written.clone(), self.read.clone());
        for run in [vec![format!("SET {three} here")], vec!["PING".to_owned()], Vec::new()] {
            self.client.cmd(&format!("WATCH {one} {read}"));
            self.nodes[2].cmd(&format!("SET {read} w"));
            assert_eq!(transact(&mut self.client, &run), Value::Nil, "{run:?}");
            self.client.cmd(&format!("WATCH {one}"));
            self.client.cmd(&format!("WATCH {read}"));
            assert_eq!(transact(&mut self.client, &run).items().len(), run.len(), "{run:?}");
        }
        assert_eq!(self.client.cmd(&format!("GET {three}")).text(), "here");
        // A key that there was not, in a slot that moves with nobody touching it.
        let absent = self.cluster.key_on(1, "absent");
        let slot = Slot::of(absent.as_bytes());
        self.client.cmd(&format!("WATCH {one} {absent}"));
        self.cluster.move_slot(slot, 1, 2);
        self.nodes[2].cmd(&format!("SET {absent} w"));
        assert_eq!(self.append(), Value::Nil);
        self.nodes[2].cmd(&format!("DEL {absent}"));
        self.cluster.move_slot(slot, 2, 1);
    }

    fn forgets(&mut self) {
        for lines in [&["UNWATCH"][..], &["MULTI", "DISCARD"]] {
            self.watch();
            self.set_all();
            for line in lines {
                assert_eq!(self.client.cmd(line).text(), "OK");
            }
            assert_eq!(self.append().items().len(), 3);
        }
    }
}

#[test]
fn a_conflicting_write_to_any_watched_key_runs_nothing() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    for protocol in [2, 3] {
        let mut scene = Scene::new(&cluster, Raw::speaking(&proxy.addr(), protocol));
        scene.conflicts();
        scene.elsewhere();
        scene.forgets();
    }
    assert_eq!(proxy.metric("transactions_torn"), 0);
    eventually("nothing is watched any more", SOON, || (proxy.metric("pinned_watch") == 0).then_some(()));
    eventually("nobody holds a connection", SOON, || {
        (proxy.metric("private_connections") == 0).then_some(())
    });
}

/// What a client that counted by WATCH alone came to.
#[derive(Default)]
struct Counted {
    done: i64,
    torn: i64,
}

fn count_by_watch(mut client: Raw, keys: &[String], times: i64) -> Counted {
    let mut counted = Counted::default();
    while counted.done < times {
        assert_eq!(client.cmd(&format!("WATCH {}", keys.join(" "))).text(), "OK");
        let next = keys.iter().map(|key| match client.cmd(&format!("GET {key}")) {
            Value::Nil => format!("SET {key} 1"),
            value => format!("SET {key} {}", value.text().parse::<i64>().expect("a number") + 1),
        });
        let lines: Vec<String> = next.collect();
        match transact(&mut client, &lines) {
            Value::Nil => {}
            Value::Error(said) => {
                let said = String::from_utf8_lossy(&said).into_owned();
                assert!(said.starts_with("ERR slotway: the transaction is torn"), "{said}");
                counted.torn += 1;
            }
            _ => counted.done += 1,
        }
    }
    counted
}

#[test]
fn of_many_who_count_by_watch_alone_no_update_is_lost() {
    const TIMES: i64 = 20;
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    for (name, places) in [("apart", [0, 1]), ("together", [2, 2])] {
        let keys =
            [cluster.key_on(places[0], &format!("{name}1")), cluster.key_on(places[1], &format!("{name}2"))];
        let mut alone = keys.clone();
        alone.sort_by_key(|key| Slot::of(key.as_bytes()));
        // Every second one counts the key only that is run last: it comes between the others' shares.
        let clients: Vec<_> = (0..8)
            .map(|number| {
                let (client, keys) = (proxy.client(), keys.clone());
                let last = alone[1..].to_vec();
                thread::spawn(move || match number % 2 {
                    0 => count_by_watch(client, &keys, TIMES),
                    _ => count_by_watch(client, &last, TIMES * 4),
                })
            })
            .collect();
        let counted: Vec<_> = clients.into_iter().map(|client| client.join().expect("no panic")).collect();
        let torn: i64 = counted.iter().map(|counted| counted.torn).sum();
        let done = |which| counted.iter().skip(which).step_by(2).map(|counted| counted.done).sum::<i64>();
        let mut client = proxy.client();
        let mut value =
            |key: &String| client.cmd(&format!("GET {key}")).text().parse::<i64>().expect("a number");
        let values = [value(&alone[0]), value(&alone[1])];
        println!("{name}: {} and {} done, {torn} torn, counted {values:?}", done(0), done(1));
        // What was torn ran at the first key only.
        assert_eq!(values, [done(0) + torn, done(0) + done(1)], "{torn} torn");
        assert!(torn <= proxy.metric("transactions_torn") as i64);
    }
}

fn queues(request: &Received) -> Action {
    Action::line(match &*request.name() {
        "MULTI" | "DISCARD" => "+OK",
        "EXEC" => "*1\r\n:1",
        _ => "+QUEUED",
    })
}

#[test]
fn a_shard_that_fails_between_probe_and_run_is_told() {
    let refuses = |request: &Received| match &*request.name() {
        "EXEC" => Action::line("-EXECABORT Transaction discarded because of: OOM command not allowed"),
        _ => queues(request),
    };
    let dies = |request: &Received| match &*request.name() {
        "EXEC" => Action::Close(Vec::new()),
        _ => queues(request),
    };
    for (second, why) in [(Box::new(refuses) as Box<Script>, "OOM"), (Box::new(dies), "may have run")] {
        let fakes = Fake::cluster(vec![Box::new(queues), second]);
        let proxy = Options::cluster(&[format!("redis://{}", fakes[0].addr())]).eager().start();
        let mut client = proxy.client();
        eventually("the topology is known", SOON, || (client.cmd("PING").text() == "PONG").then_some(()));
        // bar is in slot 5061, foo in 12182.
        let said = transact(&mut client, &["INCR bar".to_owned(), "INCR foo".to_owned()]).error();
        assert!(said.starts_with("ERR slotway: the transaction is torn") && said.contains(why), "{said}");
        assert_eq!((fakes[0].count("EXEC"), fakes[1].count("EXEC")), (1, 1), "nothing is run twice");
        assert_eq!(proxy.metric("transactions_torn"), 1);
    }
}

/// Two slots of one node: the second share is run under a WATCH that follows the first EXEC at once.
#[test]
fn a_key_that_changes_between_the_shares_of_one_node_is_seen() {
    let fake = Fake::start(|request| {
        Action::line(match (&*request.name(), request.nth) {
            ("MULTI" | "DISCARD" | "WATCH", _) => "+OK",
            ("EXISTS", _) => ":1",
            // Behind the probe, which is an EXEC for several shares of a node.
            ("EXEC", 1) => "*0",
            ("EXEC", 2) => "*1\r\n:1",
            ("EXEC", _) => "*-1",
            _ => "+QUEUED",
        })
    });
    let proxy = Options::cluster(&[format!("redis://{}", fake.addr())]).eager().start();
    let mut client = proxy.client();
    assert_eq!(client.cmd("WATCH bar foo").text(), "OK");
    let said = transact(&mut client, &["INCR bar".to_owned(), "INCR foo".to_owned()]).error();
    assert!(
        said.starts_with("ERR slotway: the transaction is torn") && said.contains("was changed"),
        "{said}"
    );
    let received = fake.received();
    let private =
        received.iter().rfind(|request| request.name() == "WATCH").map(|request| request.connection);
    let said: Vec<String> = received
        .iter()
        .filter(|request| Some(request.connection) == private && request.name() != "HELLO")
        .map(|request| format!("{} {}", request.name(), request.text(1)).trim().to_owned())
        .collect();
    // CLIENT INFO, by which the fake does not tell of changes, comes behind EXISTS.
    let expected = "WATCH bar, WATCH foo, EXISTS bar, EXISTS foo, MULTI, INCR bar, EXEC, WATCH foo, MULTI, INCR foo, EXEC";
    assert!(said.join(", ").ends_with(expected), "{said:?}");
    assert_eq!(proxy.metric("transactions_torn"), 1);
    eventually("nothing is watched any more", SOON, || (proxy.metric("pinned_watch") == 0).then_some(()));
}

#[test]
fn standalone_shards_run_their_part_each_and_a_dead_one_has_nothing_run() {
    let mut servers = [Server::start(), Server::start(), Server::start()];
    let urls = servers.each_ref().map(|server| format!("redis://{}", server.addr()));
    let proxy = Options::shards(&urls).set(&["cluster.command_timeout=1s"]).start();
    let mut client = proxy.client();
    let mut names = (0..).map(|number| format!("key{number}"));
    // As many as make sure that every server has some.
    let keys: Vec<String> = names.by_ref().take(30).collect();
    let lines: Vec<String> = keys.iter().map(|key| format!("INCR {key}")).collect();
    let all_run = vec![Value::Int(1); 30];
    assert_eq!(transact(&mut client, &lines).items(), all_run);
    let mset: Vec<String> = keys.iter().map(|key| format!("{key} 5")).collect();
    let both = [format!("MSET {}", mset.join(" ")), format!("MGET {}", keys.join(" "))];
    let replies = transact(&mut client, &both);
    assert_eq!(replies.items()[0].text(), "OK");
    assert!(replies.items()[1].items().iter().all(|value| value.text() == "5"));
    // Watched over all servers: any one of them knows.
    for server in &servers {
        let mut direct = server.client();
        let own = direct.cmd("RANDOMKEY").text();
        client.cmd(&format!("WATCH {}", keys.join(" ")));
        direct.cmd(&format!("SET {own} 5"));
        assert_eq!(transact(&mut client, &lines), Value::Nil);
    }
    client.cmd(&format!("WATCH {}", keys.join(" ")));
    assert_eq!(transact(&mut client, &lines).items(), vec![Value::Int(6); 30]);
    // Databases are chosen on one connection, not on three.
    client.cmd("MULTI");
    lines.iter().for_each(|line| assert_eq!(client.cmd(line).text(), "QUEUED"));
    assert!(client.cmd("SELECT 1").is_error());
    assert_eq!(client.cmd("DISCARD").text(), "OK");
    servers[1].kill();
    let said = transact(&mut client, &lines).error();
    assert!(said.starts_with("EXECABORT Transaction discarded because of: "), "{said}");
    for server in [&servers[0], &servers[2]] {
        let mut direct = server.client();
        let own = direct.cmd("RANDOMKEY").text();
        assert_eq!(direct.cmd(&format!("GET {own}")).text(), "6", "it did not run");
    }
    assert_eq!(proxy.metric("transactions_torn"), 0);
}

#[test]
fn what_a_client_sent_before_it_left_runs_on_every_shard_or_on_none() {
    const ROUNDS: usize = 20;
    let servers = [Server::start(), Server::start(), Server::start()];
    let urls = servers.each_ref().map(|server| format!("redis://{}", server.addr()));
    let proxy = Options::shards(&urls).start();
    let keys: Vec<String> = (0..12).map(|number| format!("key{number}")).collect();
    for watches in [false, true] {
        for round in 0..ROUNDS {
            // Answered once: who has not been taken in yet is not known to be there.
            let mut client = proxy.client();
            assert_eq!(client.cmd("PING").text(), "PONG");
            if watches {
                assert_eq!(client.cmd(&format!("WATCH {}", keys.join(" "))).text(), "OK");
            }
            let commands = keys.iter().map(|key| format!("INCR {key}"));
            let lines = ["MULTI".to_owned()].into_iter().chain(commands).chain(["EXEC".to_owned()]);
            client.send_bytes(&lines.flat_map(|line| frame(&words(&line))).collect::<Vec<u8>>());
            // Some leave at once, some when the proxy has taken it in.
            if round % 2 == 0 {
                client.read_many(1 + keys.len());
            }
            drop(client);
            if watches {
                // Of two that watch the same keys the later one may be torn: by the earlier one's later shares.
                until_over(&proxy);
            }
        }
    }
    until_over(&proxy);
    let mut client = proxy.client();
    let counts: Vec<Value> = keys.iter().map(|key| client.cmd(&format!("GET {key}"))).collect();
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    assert!(counts[0].text().parse::<usize>().expect("a number") >= ROUNDS / 2, "{counts:?}");
    assert_eq!((proxy.metric("transactions_torn"), proxy.metric("pinned_watch")), (0, 0));
}

/// Waits until all that clients who left had begun is over.
fn until_over(proxy: &Proxy) {
    // The one who asks is one.
    eventually("all that was begun is over", SOON, || (proxy.metric("clients") == 1).then_some(()));
    eventually("no plan is under way", SOON, || (proxy.metric("plans") == 0).then_some(()));
}
