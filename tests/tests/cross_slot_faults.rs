//! Commands whose keys are in several slots, where a step fails or who asked has gone: nothing is lost, nothing is left
//! half-way.

use slotway_tests::cluster::Cluster;
use slotway_tests::play::wait_for_blocked;
use slotway_tests::poll::eventually;
use slotway_tests::proxy::Proxy;
use slotway_tests::raw::PATIENCE;
use slotway_tests::value::Value;

#[test]
fn nothing_is_moved_for_a_client_that_has_gone() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let mut client = proxy.client();
    let (from, to) = (cluster.key_on(0, "from"), cluster.key_on(1, "to"));
    let waits = || {
        let mut client = proxy.client();
        client.send_line(&format!("BLMOVE {from} {to} LEFT LEFT 0"));
        wait_for_blocked(&proxy.addr(), 1);
        client
    };
    // Whatever it was at: asking, having itself told of changes, or waiting for them.
    for number in 1..=20 {
        drop(waits());
        wait_for_blocked(&proxy.addr(), 0);
        assert_eq!(client.cmd(&format!("RPUSH {from} 1")), Value::Int(1), "round {number}");
        assert_eq!(client.cmd(&format!("LPOP {from}")).text(), "1", "round {number}");
    }
    // There is something to be moved, but nothing is yet, since the other node does not say what it has.
    let waits = waits();
    eventually("it is told of changes", PATIENCE, || {
        let tracked = cluster.node(0).client().cmd("INFO clients").text();
        (tracked.contains("tracking_clients:1") && proxy.metric("plans") == 0).then_some(())
    });
    cluster.node(1).freeze();
    client.cmd(&format!("RPUSH {from} 1"));
    eventually("both are asked", PATIENCE, || (proxy.metric("plans") == 1).then_some(()));
    drop(waits);
    wait_for_blocked(&proxy.addr(), 0);
    cluster.node(1).thaw();
    eventually("nothing is under way", PATIENCE, || (proxy.metric("plans") == 0).then_some(()));
    assert_eq!(client.cmd(&format!("LLEN {to}")), Value::Int(0));
    assert_eq!(client.cmd(&format!("LLEN {from}")), Value::Int(1));
}

#[test]
fn a_step_that_fails_loses_nothing() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let mut client = proxy.client();
    let (here, full) = (|name: &str| cluster.key_on(0, name), |name: &str| cluster.key_on(1, name));
    let (list, set, hash) = (here("list"), here("set"), here("hash"));
    let (target, old) = (full("target"), full("old"));
    client.cmd(&format!("RPUSH {list} 1 2 3"));
    client.cmd(&format!("SADD {set} a b"));
    client.cmd(&format!("HSET {hash} f v"));
    client.cmd(&format!("SADD {old} before"));
    // The node that would be written to has no room any more.
    let mut node = cluster.node(1).client();
    node.cmd("CONFIG SET maxmemory 1");
    for line in [
        format!("LMOVE {list} {target} LEFT RIGHT"),
        format!("BLMOVE {list} {target} RIGHT RIGHT 1"),
        format!("SMOVE {set} {target} a"),
        format!("RENAME {hash} {target}"),
        format!("RENAMENX {hash} {target}"),
        format!("COPY {hash} {target}"),
        format!("MSETNX {} 1 {target} 2", here("new")),
        format!("SUNIONSTORE {old} {set} {old}"),
        format!("ZRANGESTORE {target} {} 0 -1", here("zset")),
    ] {
        let said = client.cmd(&line);
        let is_empty_store = line.starts_with("ZRANGESTORE") && said == Value::Int(0);
        assert!(
            is_empty_store || said.error().contains("OOM") || said.error().contains("maxmemory"),
            "{line}: {said:?}"
        );
    }
    node.cmd("CONFIG SET maxmemory 0");
    assert_eq!(
        client.cmd(&format!("LRANGE {list} 0 -1")).items().iter().map(Value::text).collect::<Vec<_>>(),
        ["1", "2", "3"]
    );
    assert_eq!(client.cmd(&format!("SCARD {set}")).int(), 2);
    assert_eq!(client.cmd(&format!("HGET {hash} f")).text(), "v");
    assert_eq!(client.cmd(&format!("SMEMBERS {old}")).items().len(), 1);
    assert_eq!(client.cmd("DBSIZE").int(), 4, "nothing is left over");
}

#[test]
fn a_client_that_leaves_leaves_nothing_half_way() {
    const ELEMENTS: i64 = 300;
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let mut client = proxy.client();
    for number in 0..ELEMENTS {
        client.send(&["RPUSH", "from", &number.to_string()]);
    }
    client.read_many(ELEMENTS as usize);
    client.cmd("SET renamed:0 v");
    for number in 0..200 {
        let mut leaves = proxy.client();
        leaves.send_line("LMOVE from to LEFT RIGHT");
        drop(leaves);
        let mut leaves = proxy.client();
        leaves.send_line(&format!("RENAME renamed:{number} renamed:{}", number + 1));
        drop(leaves);
        if number % 20 == 0 {
            eventually("the plans end", PATIENCE, || (proxy.metric("plans") == 0).then_some(()));
        }
    }
    eventually("the plans end", PATIENCE, || (proxy.metric("plans") == 0).then_some(()));
    assert_eq!(client.cmd("LLEN from").int() + client.cmd("LLEN to").int(), ELEMENTS);
    assert!(client.cmd("KEYS slotway:*").items().is_empty());
    assert_eq!(client.cmd("KEYS renamed:*").items().len(), 1);
}
