//! One tenant leaves its mark in everything that has a name or a value; another says all that can be said. Not one
//! byte of the mark, nor of anybody's internal prefix, is in what it is told.

use std::time::Duration;

use slotway_tests::argv::frame;
use slotway_tests::cluster::Cluster;
use slotway_tests::generate::excuse::Excuses;
use slotway_tests::generate::grammar::rows;
use slotway_tests::generate::unit::{Generator, prelude};
use slotway_tests::generate::universe::all_keys;
use slotway_tests::namespace::Namespace;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::value::Value;

/// Whoever says nothing has to log in: SHA-256 of "secret".
const DEFAULT: &str = "[[users]]\nname = \"default\"\npasswords_sha256 = \
                       [\"2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\"]\n";

/// What must not be heard: the mark, both prefixes, and the addresses of servers.
const SECRETS: [&str; 4] = ["canary", "ann4x9q2", "bob7k1z8", "PORT"];

struct Stage {
    cluster: Cluster,
    proxy: Proxy,
}

impl Stage {
    /// Whether the keys of the one who asks are together, and whether the other's are.
    fn with(ann: bool, other: bool) -> Self {
        let cluster = Cluster::start();
        for index in 0..cluster.len() {
            let mut node = cluster.node(index).client();
            assert_eq!(node.cmd("CONFIG SET notify-keyspace-events KEA").text(), "OK");
            assert_eq!(node.cmd("CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 1000").text(), "OK");
        }
        let ann = Namespace { id: "ann4x9q2", together: ann };
        let canary = Namespace { id: "bob7k1z8", together: other };
        [ann, canary].iter().for_each(|namespace| namespace.admit(&cluster));
        let config = [DEFAULT, &ann.settings("ann"), &canary.settings("canary")].concat();
        let proxy = Options::cluster(&cluster.urls()).config(&config).start();
        Self { cluster, proxy }
    }

    fn client(&self, user: &str, protocol: u8) -> Raw {
        let mut client = self.proxy.client();
        let hello = client.cmd(&format!("HELLO {protocol} AUTH {user} any"));
        assert!(!hello.is_error(), "{hello:?}");
        client
    }

    fn bob(&self) -> Raw {
        self.client("canary", 3)
    }

    #[track_caller]
    fn check(&self, asked: &str, told: &[u8]) {
        let port = format!(":{}", self.cluster.node(0).addr().rsplit(':').next().unwrap_or_default());
        for secret in SECRETS {
            let secret = if secret == "PORT" { &port } else { secret };
            let found = told.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{asked} was told {secret}: {}", told.escape_ascii());
        }
    }
}

/// Bob's keys: one of each name that the commands below use, and of each type.
fn mark(bob: &mut Raw) {
    bob.cmd("CLIENT SETNAME canary-client");
    for key in all_keys() {
        bob.call(&["SET", &key, "canary"]);
    }
    for line in [
        "SET canary-string canary",
        "RPUSH canary-list canary canary",
        "SADD canary-set canary",
        "ZADD canary-zset 1 canary",
        "HSET canary-hash canary canary",
        "XADD canary-stream * canary canary",
        "XGROUP CREATE canary-stream canary-group 0",
        "XREADGROUP GROUP canary-group canary-consumer STREAMS canary-stream >",
        "SCRIPT LOAD \"return 'canary'\"",
        "SELECT 3",
        "SET canary-other canary",
        "SELECT 0",
    ] {
        let reply = bob.cmd(line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
    }
}

fn census(bob: &mut Raw) -> Vec<String> {
    let mut keys: Vec<_> = bob.cmd("KEYS *").items().iter().map(Value::text).collect();
    keys.sort();
    keys
}

#[test]
fn generated_commands_tell_nothing_of_another_tenant() {
    for (ann, other) in [(false, true), (true, false), (false, false)] {
        let stage = Stage::with(ann, other);
        let mut bob = stage.bob();
        mark(&mut bob);
        let before = census(&mut bob);
        let (rows, excuses) = (rows(), Excuses::read());
        for (seed, protocol) in [(1, 2), (2, 3), (3, 2)] {
            let mut ann = [stage.client("ann", protocol), stage.client("ann", protocol)];
            let mut generator = Generator::new(&rows, &excuses, seed);
            let units = std::iter::once(prelude()).chain((0..400).map(|_| generator.unit()));
            for step in units.flat_map(|unit| unit.0) {
                let client = &mut ann[step.client];
                client.send_bytes(&frame(&step.command.argv));
                let told = client.read_frame();
                stage.check(&format!("{:?}", step.command), &told);
            }
        }
        for protocol in [2, 3] {
            let mut ann = stage.client("ann", protocol);
            ann.send(&["SLOWLOG", "GET", "-1"]);
            let told = ann.read_frame();
            assert!(told.len() > 10_000, "it has a log: {}", told.escape_ascii());
            stage.check("the slow log", &told);
        }
        assert_eq!(census(&mut bob), before);
        for key in all_keys() {
            assert_eq!(bob.call(&["GET", &key]).text(), "canary", "{key}");
        }
    }
}

/// What a script's text says no key specs tell: the servers keep it within the tenant's rights.
#[test]
fn scripts_and_transactions_find_nothing_of_another_tenant() {
    for (together, protocol) in [(false, 2), (true, 3)] {
        let stage = Stage::with(together, !together);
        mark(&mut stage.bob());
        let mut ann = stage.client("ann", protocol);
        let key = "bob7k1z8:canary-string";
        let scripts = [
            "return redis.call('KEYS', '*')",
            "return redis.call('SCAN', '0')",
            "return redis.call('RANDOMKEY')",
            "return redis.call('DBSIZE')",
            "return redis.call('GET', ARGV[1])",
            "return {redis.pcall('GET', ARGV[1]), redis.pcall('EXISTS', '{' .. ARGV[1])}",
            "return redis.call('PUBLISH', ARGV[1], 'x')",
            "return redis.call('PUBSUB', 'CHANNELS')",
            "return redis.call('CLIENT', 'LIST')",
            "return redis.call('CONFIG', 'GET', 'port')",
            "return redis.call('CLUSTER', 'SLOTS')",
            "return redis.call('MEMORY', 'STATS')",
            "return redis.call('FUNCTION', 'LIST')",
            "return redis.call('INFO')",
            "return redis.call('SELECT', '0')",
        ];
        // As it is said, and past what the proxy puts in front.
        let around = scripts.map(|script| script.replace("redis.", "_G.redis."));
        for script in scripts.into_iter().chain(around.iter().map(|script| &**script)) {
            for line in [vec!["EVAL", script, "0", key], vec!["EVAL", script, "1", "k", key]] {
                ann.send(&line);
                let told = ann.read_frame();
                // Names get the prefix; what has none must be denied.
                let is_named =
                    script.contains("ARGV[1]") && !script.contains("_G") || script.contains("pcall");
                let may_be_said = is_named || told.starts_with(b"-");
                assert!(may_be_said, "{script}: {}", told.escape_ascii());
                stage.check(script, &told);
            }
        }
        for line in ["MULTI", "GET bob7k1z8:canary-string", "EXISTS {bob7k1z8}:canary-string", "EXEC"] {
            ann.send_line(line);
            stage.check(line, &ann.read_frame());
        }
    }
}

/// Every command of a server with all kinds of arguments, most of which make no sense.
#[test]
fn no_command_whatsoever_tells_of_another_tenant() {
    for (together, protocol) in [(false, 2), (true, 3)] {
        let stage = Stage::with(together, !together);
        let mut bob = stage.bob();
        mark(&mut bob);
        let before = census(&mut bob);
        for (name, arity) in commands(&stage) {
            let words: Vec<&str> = name.split('|').collect();
            let least = usize::try_from(arity.unsigned_abs()).expect("small");
            let mut ann = stage.client("ann", protocol);
            ann.set_patience(Duration::from_millis(300));
            let mut asked = 0;
            for (argument, other) in [("*", "0"), ("0", "*"), ("1", "list1"), ("string1", "1")] {
                for more in 0..3 {
                    let pad = |index: usize| if index.is_multiple_of(2) { argument } else { other };
                    let rest = (0..(least + more).saturating_sub(words.len())).map(pad);
                    let argv: Vec<&str> = words.iter().copied().chain(rest).collect();
                    if ann.try_send_bytes(&frame(&argv)).is_ok() {
                        asked += 1;
                    }
                }
            }
            // Some wait, some close the connection, some are told more than once; most get to the end.
            let _a_closed_connection = ann.try_send_bytes(&frame(&["ECHO", "the end"]));
            for _ in 0..asked * 4 {
                let Ok(told) = ann.try_frame() else { break };
                stage.check(&name, &told);
                if told.ends_with(b"the end\r\n") || told.starts_with(b"-ERR Can't execute 'echo'") {
                    break;
                }
            }
        }
        assert_eq!(census(&mut bob), before);
    }
}

/// The names and arities of all commands and subcommands; of the modules' too where there are any.
fn commands(stage: &Stage) -> Vec<(String, i64)> {
    fn collect(rows: &Value, found: &mut Vec<(String, i64)>) {
        for row in rows.items() {
            found.push((row.items()[0].text(), row.items()[1].int()));
            if let Some(subcommands) = row.items().get(9) {
                collect(subcommands, found);
            }
        }
    }
    let mut found = Vec::new();
    collect(&stage.cluster.node(0).client().cmd("COMMAND"), &mut found);
    assert!(found.len() > 300, "only {} commands", found.len());
    found
}

#[test]
fn nothing_that_is_pushed_tells_of_another_tenant() {
    for (together, protocol) in [(false, 2), (true, 3)] {
        let stage = Stage::with(together, !together);
        let mut bob = stage.bob();
        let mut listeners: Vec<Raw> = Vec::new();
        for lines in [
            &["PSUBSCRIBE *", "PSUBSCRIBE canary*", "SUBSCRIBE news", "SSUBSCRIBE news"][..],
            &["PSUBSCRIBE __keyspace@0__:*", "PSUBSCRIBE __keyevent@0__:*", "SUBSCRIBE __keyevent@0__:set"],
            &["MONITOR"],
            &["CLIENT TRACKING ON BCAST"],
        ] {
            let mut listener = stage.client("ann", if lines[0].starts_with("CLIENT") { 3 } else { protocol });
            lines.iter().for_each(|line| listener.send_line(line));
            // Confirmations name what was asked for.
            for line in lines {
                let told = listener.read();
                assert!(!told.is_error(), "{line}: {told:?}");
            }
            listeners.push(listener);
        }
        for round in 0..20 {
            mark(&mut bob);
            bob.cmd("PUBLISH canary canary");
            bob.cmd("PUBLISH news canary");
            bob.cmd("SPUBLISH news canary");
            bob.cmd(&format!("DEL canary-list canary-stream x{round}"));
        }
        // Something of her own comes behind, so that all that was before has been heard.
        let mut ann = stage.client("ann", 2);
        ann.cmd("SET last 1");
        ann.cmd("PUBLISH news last");
        for listener in &mut listeners {
            listener.set_patience(Duration::from_millis(500));
            let mut heard = Vec::new();
            while let Ok(told) = listener.try_frame() {
                stage.check("a listener", &told);
                heard.extend(told);
            }
            let has_last = heard.windows(4).any(|window| window == b"last");
            assert!(has_last, "nothing of its own: {}", heard.escape_ascii());
        }
    }
}
