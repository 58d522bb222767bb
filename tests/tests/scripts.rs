//! Scripts and functions: a server that has forgotten them, or never had them, is no client's matter.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use slotway::cluster::slot::Slot;
use slotway_tests::argv::{frame, words};
use slotway_tests::cluster::Cluster;
use slotway_tests::installed::python;
use slotway_tests::proxy::{Options, Proxy, answered};
use slotway_tests::raw::Raw;
use slotway_tests::server::{Kind, Server};
use slotway_tests::value::Value;

const SOON: Duration = Duration::from_secs(20);

/// Counts how often it ran.
const COUNT: &str = "return redis.call('INCR', KEYS[1])";
const LIBRARY: &str = "#!lua name=counting\nredis.register_function('count', function(keys) return \
                       redis.call('INCR', keys[1]) end)\nredis.register_function{function_name='look', \
                       callback=function(keys) return redis.call('GET', keys[1]) end, flags={'no-writes'}}";

#[test]
fn a_script_that_the_servers_forgot_runs_all_the_same() {
    let mut cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let off = Options::cluster(&cluster.urls()).set(&["cluster.script_cache=0"]).start();
    let key = cluster.key_on(0, "counter");
    let mut client = proxy.client();
    let sha = client.call(&["SCRIPT", "LOAD", COUNT]).text();
    // A script that was never loaded, only run.
    let double = "return 2 * ARGV[1]";
    assert_eq!(client.call(&["EVAL", double, "1", &key, "21"]).int(), 42);
    let double = cluster.node(0).client().call(&["SCRIPT", "LOAD", double]).text();

    // Nothing is left of a server that is restarted without persistence.
    cluster.node_mut(0).restart();
    cluster.wait_until_agreed();
    let mut plain = off.client();
    answered(&mut plain, &format!("GET {key}"), SOON);
    assert!(plain.cmd(&format!("EVALSHA {sha} 1 {key}")).error().starts_with("NOSCRIPT"));
    for protocol in [2, 3] {
        let mut client = Raw::speaking(&proxy.addr(), protocol);
        answered(&mut client, &format!("GET {key}"), SOON);
        assert_eq!(client.cmd(&format!("EVALSHA {double} 1 {key} 4")).int(), 8);
        let hundred = pipeline(&mut client, &format!("EVALSHA {sha} 1 {key}"), 100);
        assert!(hundred.iter().map(Value::int).eq(1..=100), "{hundred:?}");
        client.cmd(&format!("DEL {key}"));
        forget(&cluster, 0);
        let thousand = pipeline(&mut client, &format!("EVALSHA {sha} 1 {key}"), 1_000);
        assert!(thousand.iter().map(Value::int).eq(1..=1_000), "{thousand:?}");
        assert_eq!(client.cmd(&format!("GET {key}")).text(), "1000");
        client.cmd(&format!("DEL {key}"));
    }
    assert!(proxy.metric("scripts_repaired") > 0 && proxy.metric("scripts_told") > 0);
    assert_eq!(proxy.metric("scripts_cached"), 2);

    in_a_transaction_and_when_tracked(&cluster, &proxy, &key, &sha);
    behind_what_cannot_wait(&cluster, &proxy, &key, &sha);
    what_exists_and_what_is_flushed(&cluster, &proxy, &off, &sha);
}

/// In a transaction and over a connection of the client's own the body goes with the call.
fn in_a_transaction_and_when_tracked(cluster: &Cluster, proxy: &Proxy, key: &str, sha: &str) {
    for protocol in [2, 3] {
        let mut client = Raw::speaking(&proxy.addr(), protocol);
        client.cmd(&format!("DEL {key}"));
        forget(cluster, 0);
        client.cmd("MULTI");
        assert_eq!(client.cmd(&format!("EVALSHA {sha} 1 {key}")).text(), "QUEUED");
        client.cmd(&format!("evalsha {} 1 {key}", sha.to_uppercase()));
        client.cmd(&format!("GET {key}"));
        let replies = client.cmd("EXEC");
        assert_eq!(replies.items()[..2], [1, 2].map(Value::Int));
        assert_eq!(replies.items()[2].text(), "2");
    }
    let mut tracker = Raw::speaking(&proxy.addr(), 3);
    assert_eq!(tracker.cmd("CLIENT TRACKING ON").text(), "OK");
    forget(cluster, 0);
    assert_eq!(tracker.cmd(&format!("EVALSHA {sha} 1 {key}")).int(), 3);
}

/// A call that others of the same client stand behind is not put behind them: it gets the server's answer, once.
fn behind_what_cannot_wait(cluster: &Cluster, proxy: &Proxy, key: &str, sha: &str) {
    let mut client = proxy.client();
    client.cmd(&format!("SET {key} 10"));
    assert_eq!(client.cmd(&format!("EVALSHA {sha} 1 {key}")).int(), 11);
    forget(cluster, 0);
    let mixed = |client: &mut Raw| {
        // In one write: what comes alone is answered before the other is read.
        let lines = [format!("EVALSHA {sha} 1 {key}"), format!("GET {key}")];
        client.send_bytes(&lines.map(|line| frame(&words(&line))).concat());
        client.read_many(2)
    };
    let replies = mixed(&mut client);
    assert!(replies[0].error().starts_with("NOSCRIPT"), "{replies:?}");
    assert_eq!(replies[1].text(), "11");
    let replies = mixed(&mut client);
    assert_eq!((replies[0].int(), replies[1].text()), (12, "12".to_owned()));
    // A script says what it likes, and runs twice at most where it says the server's own words.
    let forged = "redis.call('INCR', KEYS[1]); return redis.error_reply('NOSCRIPT No matching script.')";
    let forged = client.call(&["SCRIPT", "LOAD", forged]).text();
    assert!(client.cmd(&format!("EVALSHA {forged} 1 {key}")).error().starts_with("NOSCRIPT"));
    assert!(client.cmd(&format!("GET {key}")).text().parse::<u32>().is_ok_and(|ran| ran <= 14));
    assert!(client.call(&["EVAL", "retrun 1", "0"]).error().contains("compiling"));
    assert!(client.call(&["SCRIPT", "LOAD", "retrun 1"]).error().contains("compiling"));
    // Its name: no script, so it does not exist.
    let broken = "c10ddf80eeedcf6e7d24c73579853a21d1da14ee";
    assert_eq!(client.cmd(&format!("SCRIPT EXISTS {broken}")).items(), [Value::Int(0)]);
}

fn what_exists_and_what_is_flushed(cluster: &Cluster, proxy: &Proxy, off: &Proxy, sha: &str) {
    forget(cluster, 1);
    let question = format!("SCRIPT EXISTS {sha} {}", "0".repeat(40));
    assert_eq!(proxy.client().cmd(&question).items(), [1, 0].map(Value::Int), "it is known here");
    assert_eq!(off.client().cmd(&question).items(), [0, 0].map(Value::Int), "on all shards, or not at all");
    assert!(proxy.client().cmd("SCRIPT FLUSH nix").is_error());
    let mut clients: Vec<Raw> = (0..6).map(|_| proxy.client()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.cmd(&format!("EVALSHA {sha} 1 {{{index}}}")).int(), 1, "in every worker");
    }
    assert_eq!(clients[0].cmd("SCRIPT FLUSH").text(), "OK");
    for (index, client) in clients.iter_mut().enumerate() {
        assert!(client.cmd(&format!("EVALSHA {sha} 1 {{{index}}}")).error().starts_with("NOSCRIPT"));
    }
    assert_eq!(proxy.client().cmd(&question).items(), [0, 0].map(Value::Int));
    assert_eq!((proxy.metric("scripts_cached"), proxy.metric("scripts_cached_bytes")), (0, 0));
    // It is known again by being run.
    assert_eq!(clients[0].call(&["EVAL", COUNT, "1", "{0}"]).int(), 2);
    assert_eq!(clients[5].cmd(&format!("EVALSHA {sha} 1 {{5}}")).int(), 2);
}

#[test]
fn new_primaries_have_what_the_others_have() {
    let mut cluster = Cluster::with(Kind::usual(), 3, 1);
    let proxy = Proxy::over(&cluster);
    let mut client = proxy.client();
    let sha = client.call(&["SCRIPT", "LOAD", COUNT]).text();
    assert_eq!(client.call(&["FUNCTION", "LOAD", LIBRARY]).text(), "counting");
    let key = cluster.key_on(0, "k");
    assert_eq!(client.cmd(&format!("EVALSHA {sha} 1 {key}")).int(), 1);
    assert_eq!(client.cmd(&format!("FCALL count 1 {key}")).int(), 2);

    // Scripts are not replicated; what the replica had of them by itself is gone.
    forget(&cluster, 3);
    cluster.fail_over_to(3);
    for protocol in [2, 3] {
        let mut client = Raw::speaking(&proxy.addr(), protocol);
        let next = client.cmd(&format!("INCR {key}")).int() + 1;
        let replies = pipeline(&mut client, &format!("EVALSHA {sha} 1 {key}"), 20);
        assert!(replies.iter().map(Value::int).eq(next..next + 20), "{replies:?}");
    }
    a_new_shard_runs_scripts_and_functions(&mut cluster, &proxy, &sha);
    functions_that_were_deleted_stay_so(&cluster, &proxy);
}

fn a_new_shard_runs_scripts_and_functions(cluster: &mut Cluster, proxy: &Proxy, sha: &str) {
    let fresh = cluster.join(Kind::usual());
    let keys: Vec<String> = (0..4).map(|number| cluster.key_on(1, &format!("moved{number}"))).collect();
    let mut client = proxy.client();
    for key in &keys {
        client.cmd(&format!("SET {key} 0"));
        cluster.move_slot(Slot::of(key.as_bytes()), 1, fresh);
    }
    for (protocol, key) in [(2, &keys[0]), (3, &keys[1])] {
        let mut client = Raw::speaking(&proxy.addr(), protocol);
        let replies = pipeline(&mut client, &format!("EVALSHA {sha} 1 {key}"), 100);
        assert!(replies.iter().map(Value::int).eq(1..=100), "{replies:?}");
    }
    // What stands behind a call that the node may lack waits for it.
    let key = &keys[2];
    for line in [format!("FCALL count 1 {key}"), format!("GET {key}"), format!("FCALL_RO look 1 {key}")] {
        client.send_line(&line);
    }
    let replies: Vec<String> = client.read_many(3).iter().map(Value::text).collect();
    assert_eq!(replies, ["1", "1", "1"]);
    assert_eq!(proxy.metric("functions_repaired"), 1);
    // The same where the connection has run functions, for calls that are alike.
    // A node is repaired once a second.
    sleep(Duration::from_millis(1_200));
    assert_eq!(cluster.node(fresh).client().cmd("FUNCTION FLUSH").text(), "OK");
    client.cmd(&format!("SET {key} 0"));
    let replies = pipeline(&mut client, &format!("FCALL count 1 {key}"), 200);
    assert!(replies.iter().map(Value::int).eq(1..=200), "{replies:?}");
    assert_eq!(proxy.metric("functions_repaired"), 2);
}

fn functions_that_were_deleted_stay_so(cluster: &Cluster, proxy: &Proxy) {
    let mut client = proxy.client();
    let key = cluster.key_on(2, "k");
    // One shard has lost it: the others' is deleted all the same.
    cluster.node(2).client().cmd("FUNCTION FLUSH");
    assert_eq!(client.cmd("FUNCTION DELETE counting").text(), "OK");
    assert_eq!(client.cmd("FUNCTION DELETE counting").error(), "ERR Library not found");
    let mut clients: Vec<Raw> = (0..4).map(|_| proxy.client()).collect();
    for client in &mut clients {
        assert_eq!(client.cmd(&format!("FCALL count 1 {key}")).error(), "ERR Function not found");
    }
    for index in [1, 2, 3] {
        assert!(cluster.node(index).client().cmd("FUNCTION LIST").items().is_empty());
    }
    // Calls of what there is nowhere cost the nodes little.
    let asked = || {
        let text = cluster.node(2).client().cmd("INFO commandstats").text();
        let line = text.lines().find(|line| line.starts_with("cmdstat_function|list:"));
        let count = line.and_then(|line| line.split_once("calls=")?.1.split_once(','));
        count.map_or(0, |(count, _)| count.parse::<u32>().expect("a number"))
    };
    let before = asked();
    let replies = pipeline(&mut client, &format!("FCALL nowhere 1 {key}"), 500);
    assert!(replies.iter().all(|reply| reply.error() == "ERR Function not found"));
    assert!(asked() - before <= 20, "{} questions", asked() - before);
    // Its own words are a function's answer, which it ran for.
    let words = "#!lua name=words\nredis.register_function('words', function(keys) redis.call('INCR', keys[1]) \
                 return redis.error_reply('ERR Function not found') end)";
    client.call(&["FUNCTION", "LOAD", words]);
    client.cmd(&format!("SET {key} 0"));
    for _ in 0..3 {
        assert_eq!(client.cmd(&format!("FCALL words 1 {key}")).error(), "ERR Function not found");
    }
    let ran = client.cmd(&format!("GET {key}")).text();
    assert!(["3", "4", "5", "6"].contains(&&*ran), "{ran}");
}

#[test]
fn scripts_read_where_they_may_and_take_their_keys_from_anywhere_in_a_slot() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    for protocol in [2, 3] {
        let mut client = Raw::speaking(&proxy.addr(), protocol);
        client.cmd("SET {a}1 one");
        client.cmd("SET {a}2 two");
        // Keys that only the script knows: no check of its text.
        let computed = "local tag = '{a}' local all = {} for i = 1, 2 do all[i] = redis.call('GET', tag .. i) end return all";
        let texts = |reply: Value| reply.items().iter().map(Value::text).collect::<Vec<_>>();
        assert_eq!(texts(client.call(&["EVAL", computed, "1", "{a}1"])), ["one", "two"]);
        assert_eq!(texts(client.call(&["EVAL_RO", computed, "1", "{a}1"])), ["one", "two"]);
        let sha = client.call(&["SCRIPT", "LOAD", computed]).text();
        assert_eq!(texts(client.cmd(&format!("EVALSHA_RO {sha} 1 {{a}}1"))), ["one", "two"]);
        for index in 0..3 {
            forget(&cluster, index);
        }
        assert_eq!(texts(client.cmd(&format!("EVALSHA_RO {sha} 1 {{a}}1"))), ["one", "two"]);
        let writes = client.call(&["EVAL_RO", "return redis.call('SET', KEYS[1], 'x')", "1", "{a}1"]);
        assert!(writes.error().contains("read-only"), "{writes:?}");
        // Without keys at one place, with keys of several slots nowhere.
        assert_eq!(client.call(&["EVAL", "return ARGV[1]", "0", "x"]).text(), "x");
        for line in ["EVAL \"return 1\" 2 a b", &format!("EVALSHA {sha} 2 a b"), "FCALL f 2 a b"] {
            assert!(client.cmd(line).error().starts_with("CROSSSLOT"), "{line}");
        }
        assert!(client.cmd("EVALSHA short 1 {a}1").error().starts_with("NOSCRIPT"));
        assert_eq!(client.cmd("FCALL none 0").error(), "ERR Function not found");
    }
    let mut client = proxy.client();
    for name in ["eval_ro", "evalsha_ro", "fcall_ro"] {
        let flags = client.cmd(&format!("COMMAND INFO {name}")).items()[0].items()[2].clone();
        assert!(flags.items().iter().any(|flag| flag.text() == "readonly"), "{name}");
    }
}

#[test]
fn scripts_that_nobody_calls_go_first_when_there_is_no_room() {
    let server = Server::start();
    let url = format!("redis://{}", server.addr());
    let proxy = Options::standalone(&url).set(&["cluster.script_cache=64KiB"]).start();
    let mut client = proxy.client();
    let used = client.call(&["SCRIPT", "LOAD", "return 'used'"]).text();
    let first = client.call(&["SCRIPT", "LOAD", "return 'first'"]).text();
    let large = client.call(&["SCRIPT", "LOAD", &format!("return '{}'", "x".repeat(8_000))]).text();
    for round in 0..20 {
        for number in 0..100 {
            let body = format!("return {round} * 100 + {number}");
            assert_eq!(client.call(&["EVAL", &body, "0"]).int(), round * 100 + number);
        }
        // As seldom as once in a hundred others, over a new connection to the server: the store is asked.
        server.client().cmd("SCRIPT FLUSH");
        assert_eq!(client.cmd(&format!("EVALSHA {used} 0")).text(), "used");
    }
    assert!(proxy.metric("scripts_cached_bytes") <= 64 * 1024);
    assert!(proxy.metric("scripts_cached") >= 200);
    server.client().cmd("SCRIPT FLUSH");
    assert_eq!(client.cmd(&format!("EVALSHA {used} 0")).text(), "used");
    for gone in [first, large] {
        assert!(client.cmd(&format!("EVALSHA {gone} 0")).error().starts_with("NOSCRIPT"));
    }
}

#[test]
fn redis_py_scripts_and_locks_outlive_a_restart() {
    let Some(python) = python() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut server = Server::start();
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).start();
    let run = |part: &str| {
        let script = root.join("clients/python/scripts.py");
        let mut command = Command::new(&python);
        let output =
            command.arg(script).arg(part).env("SLOTWAY_ADDR", proxy.addr()).output().expect("Python");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(said.matches(": ok").count(), 2, "{said}");
    };
    run("before");
    server.restart();
    answered(&mut proxy.client(), "GET k", SOON);
    run("behind");
}

/// The server has no script any more, and nobody was told.
fn forget(cluster: &Cluster, index: usize) {
    assert_eq!(cluster.node(index).client().cmd("SCRIPT FLUSH").text(), "OK");
}

/// The replies to so many times the same, sent at once.
fn pipeline(client: &mut Raw, line: &str, count: usize) -> Vec<Value> {
    (0..count).for_each(|_| client.send_line(line));
    client.read_many(count)
}
