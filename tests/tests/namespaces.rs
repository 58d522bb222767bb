//! Tenants that share a cluster: what each of them calls its keys and channels, and that none sees another's. The
//! prefixes as the servers have them are looked at past the proxy.

use std::time::Duration;

use slotway_tests::cluster::Cluster;
use slotway_tests::keys::scan;
use slotway_tests::namespace::Namespace;
use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::value::Value;

const ANN: Namespace = Namespace { id: "ann4x9q2", together: false };
const BOB: Namespace = Namespace { id: "bob7k1z8", together: true };

const PATIENCE: Duration = Duration::from_secs(20);

/// Two tenants over one cluster: `ann`'s keys are spread, `bob`'s are together.
fn start(cluster: &Cluster) -> Proxy {
    let plain = "[[users]]\nname = \"default\"\nnopass = true\n";
    [ANN, BOB].iter().for_each(|namespace| namespace.admit(cluster));
    let config = [plain, &ANN.settings("ann"), &BOB.settings("bob")].concat();
    Options::cluster(&cluster.urls()).config(&config).start()
}

fn client(proxy: &Proxy, user: &str, protocol: u8) -> Raw {
    let mut client = proxy.client();
    let hello = client.cmd(&format!("HELLO {protocol} AUTH {user} any"));
    assert!(!hello.is_error(), "{hello:?}");
    client
}

/// Every key of the cluster as its servers have it.
fn keys_behind(cluster: &Cluster) -> Vec<String> {
    let keys = (0..cluster.len()).flat_map(|index| {
        let reply = cluster.node(index).client().cmd("KEYS *");
        reply.items().iter().map(Value::text).collect::<Vec<_>>()
    });
    let mut keys: Vec<_> = keys.collect();
    keys.sort();
    keys.dedup();
    keys
}

fn texts(reply: &Value) -> Vec<String> {
    reply.items().iter().map(Value::text).collect()
}

fn sorted(reply: &Value) -> Vec<String> {
    let mut names = texts(reply);
    names.sort();
    names
}

#[test]
fn each_tenant_has_keys_of_its_own_and_knows_no_others() {
    let cluster = Cluster::start();
    let proxy = start(&cluster);
    for protocol in [2, 3] {
        let (mut ann, mut bob) = (client(&proxy, "ann", protocol), client(&proxy, "bob", protocol));
        for (tenant, name) in [(&mut ann, "a"), (&mut bob, "b")] {
            assert_eq!(tenant.cmd("FLUSHALL").text(), "OK");
            assert_eq!(tenant.cmd(&format!("MSET k {name} {name}2 x {{t}}3 y")).text(), "OK");
        }
        assert_eq!((ann.cmd("GET k").text(), bob.cmd("GET k").text()), ("a".into(), "b".into()));
        assert_eq!(ann.cmd("GET b2"), Value::Nil);
        assert_eq!(sorted(&ann.cmd("KEYS *")), ["a2", "k", "{t}3"]);
        assert_eq!(sorted(&bob.cmd("KEYS *2")), ["b2"]);
        assert_eq!((ann.cmd("DBSIZE").int(), bob.cmd("DBSIZE").int()), (3, 3));
        for _ in 0..10 {
            assert!(["k", "b2", "{t}3"].contains(&&*bob.cmd("RANDOMKEY").text()));
        }
        assert_eq!(bob.cmd("FLUSHDB").text(), "OK");
        assert_eq!((ann.cmd("DBSIZE").int(), bob.cmd("DBSIZE").int()), (3, 0));
        assert_eq!(bob.cmd("RANDOMKEY"), Value::Nil);
        let behind = keys_behind(&cluster);
        assert_eq!(behind, ["ann4x9q2:a2", "ann4x9q2:k", "ann4x9q2:{t}3"]);
        assert_eq!(bob.cmd("SET k b").text(), "OK");
        assert!(keys_behind(&cluster).contains(&"{bob7k1z8}:k".to_owned()));
    }
}

#[test]
fn a_scan_finds_all_own_keys_and_only_those() {
    let cluster = Cluster::start();
    let proxy = start(&cluster);
    let mut tenants = ["ann", "bob"].map(|user| client(&proxy, user, 2));
    for (index, tenant) in tenants.iter_mut().enumerate() {
        for key in 0..500 {
            tenant.send(&["SET", &format!("{index}:{key}"), "v"]);
        }
        tenant.read_many(500);
        tenant.call(&["SADD", &format!("{index}:set"), "m"]);
    }
    for (index, tenant) in tenants.iter_mut().enumerate() {
        for (options, expected) in [("", 501), ("MATCH *:1?? COUNT 5000", 100), ("TYPE set COUNT 100", 1)] {
            let found = scan(tenant, options, |_| ());
            assert_eq!(found.len(), expected, "{options}");
            assert!(found.iter().all(|key| key.starts_with(&format!("{index}:"))));
        }
    }
}

#[test]
fn info_counts_own_clients_and_tells_nothing_of_all() {
    let cluster = Cluster::start();
    let proxy = start(&cluster);
    let (mut ann, mut bob) = (client(&proxy, "ann", 2), client(&proxy, "bob", 3));
    let mut others: Vec<_> = (0..6).map(|_| client(&proxy, "ann", 2)).collect();
    for (number, waits) in others.iter_mut().enumerate().take(4) {
        waits.send_line(&format!("BLPOP list{number} 0"));
    }
    let rows = |client: &mut Raw, section: &str| -> Vec<String> {
        // RESP3 says what kind of text it is.
        let text = client.cmd(&format!("INFO {section}")).text().replace("txt:", "");
        text.lines().map(|line| line.trim().to_owned()).collect()
    };
    eventually("ann's clients wait", PATIENCE, || (proxy.metric("blocked_clients") == 4).then_some(()));
    let own = ["# Clients", "connected_clients:7", "blocked_clients:4", "maxclients:10000", ""];
    assert_eq!(rows(&mut ann, "clients"), own);
    assert!(ann.cmd("INFO").text().contains(&own[..4].join("\r\n")));
    let own = ["# Clients", "connected_clients:1", "blocked_clients:0", "maxclients:10000", ""];
    assert_eq!(rows(&mut bob, "clients"), own);
    for section in ["", "everything", "stats", "memory", "keyspace", "slotway"] {
        let told = rows(&mut bob, section);
        let of_all = ["used_memory", "total_", "slotway_shards", "db0", "clients:", "tenants_"];
        assert!(!told.iter().any(|row| of_all.iter().any(|of| row.starts_with(of))), "{section}: {told:?}");
    }
    // Who is in no namespace sees the proxy's.
    let all = rows(&mut proxy.client(), "clients");
    assert_eq!(all[1..3], ["connected_clients:9", "blocked_clients:4"]);
}

#[test]
fn the_slow_log_shows_own_commands_as_they_were_said() {
    let cluster = Cluster::start();
    let proxy = start(&cluster);
    let mut tenants = ["ann", "bob"].map(|user| client(&proxy, user, 2));
    for index in 0..cluster.len() {
        let mut node = cluster.node(index).client();
        assert_eq!(node.cmd("CONFIG SET slowlog-log-slower-than 0").text(), "OK");
    }
    let script = "return redis.call('GET', KEYS[1])";
    for (index, tenant) in tenants.iter_mut().enumerate() {
        assert_eq!(tenant.cmd(&format!("SET first {index}")).text(), "OK");
        assert_eq!(tenant.cmd("HSET hash f v").int(), 1);
        assert_eq!(tenant.call(&["EVAL", script, "1", "first", "x"]).text(), index.to_string());
        let name = tenant.call(&["SCRIPT", "LOAD", script]).text();
        assert_eq!(tenant.call(&["EVALSHA", &name, "1", "first"]).text(), index.to_string());
        // Servers tell times in seconds.
        std::thread::sleep(Duration::from_millis(1_100));
        tenant.cmd("GET last");
    }
    for (index, tenant) in tenants.iter_mut().enumerate() {
        let log = tenant.cmd("SLOWLOG GET -1");
        let said: Vec<_> = log.items().iter().map(|entry| texts(&entry.items()[3])).collect();
        let name = tenant.call(&["SCRIPT", "LOAD", script]).text();
        let cut = format!("... ({} more bytes)", script.len());
        for expected in [
            &["SET", "first", &index.to_string()][..],
            &["HSET", "hash", "f", "v"],
            &["EVAL", &cut, "1", "first", "x"],
            &["EVALSHA", &name, "1", "first"],
        ] {
            assert!(said.iter().any(|said| said == expected), "{expected:?} in {said:?}");
        }
        assert_eq!(said[0], ["GET", "last"], "the newest is first");
        assert_eq!(texts(&tenant.cmd("SLOWLOG GET 1").items()[0].items()[3]), ["GET", "last"]);
        assert_eq!(tenant.cmd("SLOWLOG GET 0").items().len(), 0);
        assert!(said.len() < 15, "nothing of others: {said:?}");
        assert_eq!(tenant.cmd("SLOWLOG LEN").int(), said.len() as i64);
        assert!(tenant.cmd("SLOWLOG GET -2").error().contains("greater than or equal to -1"));
        assert!(tenant.cmd("SLOWLOG GET x").error().contains("not an integer"));
        assert!(tenant.cmd("SLOWLOG LEN x").is_error());
        assert!(tenant.cmd("SLOWLOG RESET").error().contains("shows or changes servers"));
        assert_eq!(tenant.cmd("MULTI").text(), "OK");
        assert!(tenant.cmd("SLOWLOG GET").error().contains("slow commands of a namespace"));
        assert!(tenant.cmd("EXEC").error().starts_with("EXECABORT"));
    }
    // Valkey has one log for each kind of trouble.
    if !cluster.node(0).client().cmd("COMMANDLOG LEN slow").is_error() {
        for tenant in &mut tenants {
            let slow = tenant.cmd("COMMANDLOG GET 1 slow");
            assert_eq!(texts(&slow.items()[0].items()[3]), ["GET", "last"]);
            assert_eq!(tenant.cmd("COMMANDLOG LEN slow"), tenant.cmd("SLOWLOG LEN"));
            assert_eq!(tenant.cmd("COMMANDLOG LEN large-reply").int(), 0);
            assert!(tenant.cmd("COMMANDLOG LEN fast").error().contains("type should be one of"));
        }
    }
}

#[test]
fn numbered_databases_are_parts_of_a_namespace() {
    let cluster = Cluster::start();
    let proxy = start(&cluster);
    for user in ["ann", "bob"] {
        let mut tenant = client(&proxy, user, 2);
        assert_eq!(tenant.cmd("SET k 0").text(), "OK");
        assert_eq!(tenant.cmd("SELECT 5").text(), "OK");
        assert_eq!(tenant.cmd("GET k"), Value::Nil);
        assert_eq!(tenant.cmd("SET k 5").text(), "OK");
        assert_eq!(tenant.cmd("COPY k other DB 0").int(), 1);
        assert_eq!(tenant.cmd("MOVE k 0").int(), 0, "there is one already");
        assert_eq!(tenant.cmd("RENAME k moved").text(), "OK");
        assert_eq!(tenant.cmd("MOVE moved 0").int(), 1);
        assert_eq!(tenant.cmd("MOVE moved 0").int(), 0, "there is none");
        assert_eq!(tenant.cmd("MOVE moved 99").error(), "ERR DB index is out of range");
        assert_eq!(tenant.cmd("SET left 1").text(), "OK");
        assert_eq!(sorted(&tenant.cmd("KEYS *")), ["left"]);
        assert_eq!(tenant.cmd("SELECT 0").text(), "OK");
        assert_eq!(sorted(&tenant.cmd("KEYS *")), ["k", "moved", "other"]);
        assert_eq!(tenant.cmd("FLUSHDB").text(), "OK");
        assert_eq!(tenant.cmd("DBSIZE").int(), 0);
        assert_eq!(tenant.cmd("SELECT 5").text(), "OK");
        assert_eq!(tenant.cmd("DBSIZE").int(), 1);
        assert_eq!(tenant.cmd("SELECT 16").error(), "ERR DB index is out of range");
        assert_eq!(tenant.cmd("FLUSHALL").text(), "OK");
        assert_eq!(tenant.cmd("DBSIZE").int(), 0);
        assert!(tenant.cmd("SWAPDB 0 1").is_error());
    }
    assert_eq!(keys_behind(&cluster), Vec::<String>::new());
}

#[test]
fn names_come_back_as_they_were_written() {
    let cluster = Cluster::start();
    let proxy = start(&cluster);
    for (user, protocol) in [("ann", 2), ("ann", 3), ("bob", 2), ("bob", 3)] {
        let mut tenant = client(&proxy, user, protocol);
        tenant.cmd("FLUSHALL");
        tenant.cmd("RPUSH list a b c d");
        assert_eq!(texts(&tenant.cmd("BLPOP none list 1")), ["list", "a"]);
        assert_eq!(tenant.cmd("LMPOP 1 list LEFT").items()[0].text(), "list");
        tenant.cmd("ZADD zset 1 a 2 b 3 c");
        assert_eq!(tenant.cmd("BZPOPMIN zset 1").items()[0].text(), "zset");
        assert_eq!(tenant.cmd("BZMPOP 1 1 zset MIN").items()[0].text(), "zset");
        tenant.cmd("XADD stream 1-1 f v");
        tenant.cmd("XGROUP CREATE stream g 0");
        let read = tenant.cmd("XREADGROUP GROUP g c COUNT 1 STREAMS stream >");
        let name = if protocol == 2 { &read.items()[0].items()[0] } else { &read.items()[0] };
        assert_eq!(name.text(), "stream");
        assert!(tenant.cmd("XREADGROUP GROUP x c STREAMS stream >").error().contains("'stream'"));
        assert_eq!(tenant.cmd("EVAL 'return {KEYS[1], ARGV[1], {KEYS[1]}}' 1 k a").items()[0].text(), "k");
        assert_eq!(tenant.cmd("COMMAND GETKEYS GET k").items()[0].text(), "k");
        for line in ["MULTI", "RPUSH {t}list a", "LMPOP 1 {t}list LEFT", "GET {t}list", "MOVE {t}none 1"] {
            assert!(!tenant.cmd(line).is_error(), "{line}");
        }
        let replies = tenant.cmd("EXEC");
        assert_eq!(replies.items()[1].items()[0].text(), "{t}list");
        assert_eq!(replies.items()[3].int(), 0);
        assert_eq!(tenant.cmd("MULTI").text(), "OK");
        assert!(tenant.cmd("KEYS *").error().contains("it speaks of all keys"));
        assert!(tenant.cmd("SELECT 1").is_error());
        assert!(tenant.cmd("EXEC").error().starts_with("EXECABORT"));
        tenant.cmd("WATCH list");
        tenant.cmd("MULTI");
        tenant.cmd("BLPOP empty 0");
        assert_eq!(tenant.cmd("EXEC").items()[0], Value::Nil);
    }
}

#[test]
fn who_waits_gets_what_its_own_tenant_pushes() {
    let cluster = Cluster::start();
    let proxy = start(&cluster);
    for user in ["ann", "bob"] {
        let mut waiting = client(&proxy, user, 2);
        waiting.send_line("BLPOP jobs 10");
        let mut others = ["ann", "bob"].map(|other| client(&proxy, other, 2));
        std::thread::sleep(Duration::from_millis(100));
        for (other, name) in others.iter_mut().zip(["ann", "bob"]) {
            other.cmd(&format!("RPUSH jobs {name}"));
        }
        assert_eq!(texts(&waiting.read()), ["jobs", user]);
        others.iter_mut().for_each(|other| assert_eq!(other.cmd("FLUSHALL").text(), "OK"));
    }
}

#[test]
fn what_is_published_stays_within_its_namespace() {
    let cluster = Cluster::start();
    let proxy = start(&cluster);
    for protocol in [2, 3] {
        let mut listeners = ["ann", "bob", "default"].map(|user| client(&proxy, user, protocol));
        for listener in &mut listeners {
            assert_eq!(listener.cmd("SUBSCRIBE news").items()[1].text(), "news");
            assert_eq!(listener.cmd("PSUBSCRIBE n*").items()[1].text(), "n*");
            assert_eq!(listener.cmd("SSUBSCRIBE news").items()[1].text(), "news");
        }
        let mut publishers = ["ann", "bob", "default"].map(|user| client(&proxy, user, 2));
        for (publisher, user) in publishers.iter_mut().zip(["ann", "bob", "default"]) {
            publisher.cmd(&format!("PUBLISH news from-{user}"));
            publisher.cmd(&format!("SPUBLISH news shard-{user}"));
            if user != "default" {
                assert_eq!(texts(&publisher.cmd("PUBSUB CHANNELS")), ["news"]);
                assert_eq!(publisher.cmd("PUBSUB NUMPAT").int(), 1);
            }
            assert_eq!(publisher.cmd("PUBSUB NUMSUB news").items()[0].text(), "news");
            assert_eq!(publisher.cmd("PUBSUB NUMSUB news").items()[1].int(), 1);
        }
        for (listener, user) in listeners.iter_mut().zip(["ann", "bob", "default"]) {
            let mut heard: Vec<_> = listener.read_many(3).iter().map(texts).collect();
            heard.sort();
            let (published, shard) = (format!("from-{user}"), format!("shard-{user}"));
            let expected = [
                vec!["message", "news", &published],
                vec!["pmessage", "n*", "news", &published],
                vec!["smessage", "news", &shard],
            ];
            assert_eq!(heard, expected);
            assert_eq!(listener.cmd("UNSUBSCRIBE").items()[1].text(), "news");
        }
    }
}

#[test]
fn changes_of_own_keys_are_told_by_their_own_names() {
    let cluster = Cluster::start();
    for index in 0..cluster.len() {
        cluster.node(index).client().cmd("CONFIG SET notify-keyspace-events KEA");
    }
    let proxy = start(&cluster);
    for user in ["ann", "bob"] {
        let mut tracking = client(&proxy, user, 3);
        tracking.cmd("SET k 1");
        assert_eq!(tracking.cmd("CLIENT TRACKING ON").text(), "OK");
        assert_eq!(tracking.cmd("GET k").text(), "1");
        let mut broadcast = client(&proxy, user, 3);
        assert_eq!(broadcast.cmd("CLIENT TRACKING ON BCAST PREFIX k").text(), "OK");
        let info = broadcast.cmd("CLIENT TRACKINGINFO");
        assert_eq!(texts(info.field("prefixes")), ["k"]);
        let mut listening = client(&proxy, user, 2);
        assert_eq!(texts(&listening.cmd("SUBSCRIBE __keyspace@0__:k"))[1], "__keyspace@0__:k");
        assert!(listening.cmd("PSUBSCRIBE __key*__:*").error().contains("__keyspace@n__"));
        for other in ["ann", "bob"] {
            let mut writer = client(&proxy, other, 2);
            writer.cmd("SELECT 1");
            writer.cmd("SET k other");
            writer.cmd("SELECT 0");
            writer.cmd(&format!("SET k {other}"));
        }
        for told in [&mut tracking, &mut broadcast] {
            let push = told.read();
            assert_eq!(
                (push.items()[0].text(), texts(&push.items()[1])),
                ("invalidate".into(), vec!["k".into()])
            );
        }
        assert_eq!(texts(&listening.read()), ["message", "__keyspace@0__:k", "set"]);
        for quiet in [&mut tracking, &mut broadcast, &mut listening] {
            assert!(quiet.is_silent_for(Duration::from_millis(200)), "{user} hears of others");
        }
    }
}

#[test]
fn pipelines_and_large_values_pass_in_their_order() {
    let cluster = Cluster::start();
    let proxy = start(&cluster);
    let large = "v".repeat(3 << 20);
    for (user, protocol) in [("ann", 2), ("bob", 3)] {
        let mut tenant = client(&proxy, user, protocol);
        tenant.call(&["SET", "large", &large]);
        tenant.cmd("RPUSH list a b c");
        for round in 0..50 {
            tenant.send_line("GET large");
            tenant.send_line("LMPOP 1 list LEFT");
            tenant.send_line("INCR list");
            tenant.send(&["RPUSH", "list", &round.to_string()]);
            tenant.send_line("XREADGROUP GROUP g c STREAMS none >");
            tenant.send_line("SCAN 0 COUNT 10");
        }
        for _ in 0..50 {
            assert_eq!(tenant.read().text().len(), large.len());
            assert_eq!(tenant.read().items()[0].text(), "list");
            assert!(tenant.read().error().starts_with("WRONGTYPE"));
            assert_eq!(tenant.read().int(), 3);
            assert!(tenant.read().error().starts_with("NOGROUP No such key 'none'"));
            assert!(texts(&tenant.read().items()[1]).iter().all(|key| key == "large" || key == "list"));
        }
        for line in ["CLIENT REPLY SKIP", "LMPOP 1 list LEFT", "LMPOP 1 list LEFT"] {
            tenant.send_line(line);
        }
        assert_eq!(tenant.read().items()[0].text(), "list");
        assert_eq!(tenant.cmd("LLEN list").int(), 1);
    }
}
