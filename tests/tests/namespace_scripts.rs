//! Scripts of tenants in namespaces: they see the names that their author wrote, and reach no others.

use slotway_tests::cluster::Cluster;
use slotway_tests::namespace::Namespace;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::value::Value;

const TOGETHER: Namespace = Namespace { id: "tog4x9q2", together: true };
const SPREAD: Namespace = Namespace { id: "spr7k1z8", together: false };

fn start(cluster: &Cluster) -> Proxy {
    let tenants = [(TOGETHER, "together"), (SPREAD, "spread")].map(|(namespace, user)| {
        namespace.admit(cluster);
        namespace.settings(user)
    });
    Options::cluster(&cluster.urls()).config(&tenants.concat()).start()
}

fn client(proxy: &Proxy, user: &str, protocol: u8) -> Raw {
    let mut client = proxy.client();
    let hello = client.cmd(&format!("HELLO {protocol} AUTH {user} any"));
    assert!(!hello.is_error(), "{hello:?}");
    client
}

fn texts(reply: &Value) -> Vec<String> {
    reply.items().iter().map(Value::text).collect()
}

#[test]
fn a_script_sees_the_names_that_its_author_wrote() {
    let cluster = Cluster::start();
    let proxy = start(&cluster);
    for (user, protocol) in [("together", 2), ("together", 3), ("spread", 2), ("spread", 3)] {
        let mut tenant = client(&proxy, user, protocol);
        let told = tenant.cmd("EVAL 'return {KEYS[1], ARGV[1], #KEYS, #ARGV}' 1 k a");
        assert_eq!(texts(&told), ["k", "a", "1", "1"]);
        // What a script stores of a key's name is what others read.
        tenant.cmd("EVAL \"return redis.call('SET', KEYS[1], KEYS[1] .. ARGV[1])\" 1 {t}k x");
        assert_eq!(tenant.cmd("GET {t}k").text(), "{t}kx");
        tenant.cmd("EVAL \"redis.call('RPUSH', KEYS[1], 'a', 'b') return 1\" 1 list");
        assert_eq!(
            tenant.cmd("EVAL \"return redis.call('LMPOP', 1, KEYS[1], 'LEFT')\" 1 list").items()[0].text(),
            "list"
        );
        let failed = tenant.cmd(
            "EVAL \"return redis.call('XREADGROUP', 'GROUP', 'g', 'c', 'STREAMS', KEYS[1], '>')\" 1 none",
        );
        assert!(failed.error().contains("'none'") && !failed.error().contains("4x9q2"), "{failed:?}");
        let caught = tenant.cmd("EVAL \"return redis.pcall('INCR', KEYS[1])\" 1 {t}k");
        assert!(caught.error().contains("not an integer"), "{caught:?}");
        let line = tenant.cmd("EVAL \"\n\nreturn nothing.here\" 0").error();
        assert!(line.contains("user_script:3:"), "{line}");
    }
}

#[test]
fn together_a_script_makes_names_as_on_a_single_server() {
    let cluster = Cluster::start();
    let proxy = start(&cluster);
    let mut tenant = client(&proxy, "together", 2);
    let script = "redis.call('MSET', 'user:' .. ARGV[1], 'x', 'other', 'y') \
                  redis.call('ZADD', 'index', 1, ARGV[1]) \
                  redis.call('ZUNIONSTORE', 'both', 2, 'index', 'index') \
                  return redis.call('MGET', 'user:' .. ARGV[1], 'other')";
    assert_eq!(texts(&tenant.cmd(&format!("EVAL \"{script}\" 0 7"))), ["x", "y"]);
    assert_eq!(tenant.cmd("GET user:7").text(), "x");
    assert_eq!(tenant.cmd("ZSCORE both 7").text(), "2");
    assert_eq!(tenant.cmd("SELECT 3").text(), "OK");
    assert_eq!(texts(&tenant.cmd(&format!("EVAL \"{script}\" 0 9"))), ["x", "y"]);
    assert_eq!((tenant.cmd("EXISTS user:9").int(), tenant.cmd("EXISTS user:7").int()), (1, 0));
}

#[test]
fn scripts_are_called_by_the_names_that_their_tenant_knows() {
    let cluster = Cluster::start();
    let proxy = start(&cluster);
    let (mut one, mut two) = (client(&proxy, "together", 2), client(&proxy, "spread", 3));
    // SHA-1 of `return KEYS[1]`.
    let name = "4a2267357833227dd98abdedb8cf24b15a986445";
    let call = format!("EVALSHA {name} 1 k");
    assert!(one.cmd(&call).error().starts_with("NOSCRIPT"));
    assert_eq!(one.cmd("SCRIPT LOAD 'return KEYS[1]'").text(), name);
    assert_eq!(one.cmd(&call).text(), "k");
    assert_eq!(texts(&one.cmd(&format!("SCRIPT EXISTS {name} x"))), ["1", "0"]);
    assert_eq!(texts(&two.cmd(&format!("SCRIPT EXISTS {name}"))), ["0"], "another tenant's");
    assert!(two.cmd(&call).error().starts_with("NOSCRIPT"));
    assert_eq!(two.cmd("EVAL 'return KEYS[1]' 1 k").text(), "k");
    assert_eq!(two.cmd(&call).text(), "k");
    assert_eq!(two.cmd("SCRIPT FLUSH").text(), "OK");
    assert!(two.cmd(&call).error().starts_with("NOSCRIPT"));
    assert_eq!(one.cmd(&call).text(), "k", "what one forgets the other keeps");
    // Servers that forget are told again.
    (0..cluster.len()).for_each(|index| drop(cluster.node(index).client().cmd("SCRIPT FLUSH")));
    assert_eq!(one.cmd(&call).text(), "k");
    one.cmd("MULTI");
    one.cmd(&call);
    one.cmd("EVAL 'return {KEYS[1], ARGV[1]}' 1 a b");
    assert!(one.cmd("SCRIPT LOAD x").error().contains("can't be queued"));
    assert!(one.cmd("EXEC").error().starts_with("EXECABORT"));
    for line in ["MULTI", &call, "EVAL 'return {KEYS[1], ARGV[1]}' 1 a b"] {
        one.cmd(line);
    }
    let replies = one.cmd("EXEC");
    assert_eq!(
        (replies.items()[0].text(), texts(&replies.items()[1])),
        ("k".into(), vec!["a".into(), "b".into()])
    );
}

#[test]
fn who_goes_around_what_stands_in_front_meets_the_servers() {
    let cluster = Cluster::start();
    let proxy = start(&cluster);
    let mut two = client(&proxy, "spread", 2);
    two.cmd("SET canary secret");
    let mut one = client(&proxy, "together", 2);
    for script in [
        "return _G.redis.call('GET', 'spr7k1z8:canary')",
        "return _G.redis.call('KEYS', '*')",
        "return _G.redis.call('SCAN', '0')",
        "return _G.redis.call('FLUSHALL')",
        "return redis.call('KEYS', '*')",
        "return redis.call('CONFIG', 'GET', 'dir')",
        "return redis.call('PUBLISH', 'c', 'm') and _G.redis.call('PUBLISH', 'spr7k1z8:c', 'm')",
    ] {
        let refused = one.cmd(&format!("EVAL \"{script}\" 0"));
        assert!(refused.is_error(), "{script}: {refused:?}");
        assert!(!refused.error().contains("canary") || script.contains("canary"), "{refused:?}");
    }
    assert_eq!(two.cmd("GET canary").text(), "secret");
}
