//! Subscriptions over backends that die, freeze, move or refuse: clients that listen go on listening.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use slotway::cluster::slot::Slot;
use slotway_tests::cluster::Cluster;
use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::server::Kind;
use slotway_tests::subscriber::{message, publish, start, texts};
use slotway_tests::value::Value;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn subscriptions_survive_a_killed_primary() {
    let mut cluster = Cluster::with(Kind::usual(), 3, 3);
    let proxy = Proxy::over(&cluster);
    let dead = 0;
    let channel = cluster.key_on(dead, "channel");
    let shard = cluster.key_on(dead, "shard");
    let mut clients = [Raw::speaking(&proxy.addr(), 2), Raw::speaking(&proxy.addr(), 3)];
    for client in &mut clients {
        client.call(&["SUBSCRIBE", &channel]);
        client.call(&["PSUBSCRIBE", "pattern*"]);
        client.call(&["SSUBSCRIBE", &shard]);
    }
    cluster.node_mut(dead).kill();
    let mut awaited: Vec<BTreeSet<String>> =
        vec![BTreeSet::from([channel.clone(), "pattern1".to_owned(), shard.clone()]); 2];
    let mut other = proxy.client();
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut number = 0;
    while awaited.iter().any(|channels| !channels.is_empty()) {
        assert!(Instant::now() < deadline, "still awaited: {awaited:?}");
        number += 1;
        let mut node = cluster.node(1).client();
        node.call(&["PUBLISH", &channel, &number.to_string()]);
        node.call(&["PUBLISH", "pattern1", &number.to_string()]);
        // Through the proxy: it finds the shard's new primary.
        let _ = other.try_call(&["SPUBLISH", &shard, &number.to_string()]);
        for (client, awaited) in clients.iter_mut().zip(&mut awaited) {
            client.set_patience(Duration::from_millis(100));
            while let Ok(frame) = client.try_frame() {
                let frame = Value::decode(&frame);
                let items = frame.items();
                awaited.remove(&items[items.len() - 2].text());
            }
        }
    }
    assert!(proxy.metric("pubsub_resubscribed") >= 2);
    assert_eq!(proxy.metric("subscribed_clients"), 2, "nobody was cut");
}

#[test]
fn a_shard_channel_follows_its_slot() {
    let cluster = Cluster::start();
    // Nobody asks for the topology in time, unless what the node says makes him.
    let proxy = Options::cluster(&cluster.urls()).flag("--set", "cluster.refresh_interval=1h").start();
    let slot = Slot::of(b"{moving}");
    let home = cluster.first_owner(slot);
    let away = (home + 1) % 3;
    let mut clients = [Raw::speaking(&proxy.addr(), 2), Raw::speaking(&proxy.addr(), 3)];
    for client in &mut clients {
        client.cmd("SSUBSCRIBE {moving}");
    }
    let mut other = proxy.client();
    // Each worker with one of the two clients is a subscriber: also at the new node, before it is gone on.
    let workers = workers_of(&proxy);
    for (from, to) in [(home, away), (away, home)] {
        cluster.move_slot(slot, from, to);
        eventually("the new node knows the subscribers", SOON, || {
            let text = format!("moved to {to}");
            let counted = cluster.node(to).client().cmd("PUBSUB SHARDNUMSUB {moving}").items()[1].int();
            (counted >= workers && other.call(&["SPUBLISH", "{moving}", &text]).int() >= workers)
                .then_some(())
        });
        for client in &mut clients {
            let last = (0..).map(|_| message(client).1).find(|text| *text == format!("moved to {to}"));
            assert!(last.is_some());
        }
        for number in 0..50 {
            assert!(other.call(&["SPUBLISH", "{moving}", &format!("{to}:{number}")]).int() >= 1);
        }
        for client in &mut clients {
            let mut texts = (0..).map(|_| message(client).1).filter(|text| !text.starts_with("moved"));
            for number in 0..50 {
                assert_eq!(texts.next(), Some(format!("{to}:{number}")), "each once, in order");
            }
        }
    }
    assert!(proxy.metric("pubsub_resubscribed") >= 2);
}

/// How many workers have a subscription.
fn workers_of(proxy: &Proxy) -> i64 {
    proxy.metric("subscriptions_backend").max(1) as i64
}

#[test]
fn a_restarted_server_is_subscribed_to_again() {
    let (mut server, proxy) = start(&[]);
    let mut client = Raw::speaking(&proxy.addr(), 3);
    client.cmd("SUBSCRIBE a b c");
    client.read_many(2);
    client.cmd("PSUBSCRIBE p*");
    server.restart();
    eventually("all are live again", SOON, || {
        let channels = texts(&server.client().cmd("PUBSUB CHANNELS")).len();
        (channels == 3 && server.client().cmd("PUBSUB NUMPAT").int() == 1).then_some(())
    });
    publish(&mut server.client(), "b", "back");
    assert_eq!(message(&mut client), ("b".to_owned(), "back".to_owned()));
    assert_eq!(client.cmd("PING").text(), "PONG");
}

#[test]
fn a_frozen_server_fails_new_subscriptions_in_time_and_old_ones_come_back() {
    let (server, proxy) = start(&["cluster.command_timeout=1s", "cluster.connect_timeout=500ms"]);
    let mut old = proxy.client();
    old.cmd("SUBSCRIBE old");
    server.freeze();
    let mut new = proxy.client();
    let begun = Instant::now();
    let reply = new.cmd("SUBSCRIBE new old");
    assert_eq!(reply.error(), "ERR slotway: timed out, the command did not run");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // It listens to nothing: a RESP2 subscriber could not say this.
    assert_eq!(new.cmd("ECHO free").text(), "free");
    server.thaw();
    eventually("a message arrives again", SOON, || {
        publish(&mut server.client(), "old", "m");
        old.set_patience(Duration::from_millis(200));
        old.try_frame().ok()
    });
    eventually("the server has us for no other channel", SOON, || {
        (texts(&server.client().cmd("PUBSUB CHANNELS")) == ["old"]).then_some(())
    });
}

#[test]
fn what_the_backend_forbids_is_refused_in_its_words() {
    let (server, proxy) = start(&[]);
    assert_eq!(server.client().cmd("ACL SETUSER default resetchannels &ok*").text(), "OK");
    let mut client = proxy.client();
    let refused = client.cmd("SUBSCRIBE ok1 forbidden ok2");
    assert!(refused.error().starts_with("NOPERM"), "{refused:?}");
    assert_eq!(client.cmd("ECHO free").text(), "free", "it listens to nothing");
    assert_eq!(client.cmd("SUBSCRIBE ok1").items()[2].int(), 1);
    publish(&mut server.client(), "ok1", "m");
    assert_eq!(message(&mut client), ("ok1".to_owned(), "m".to_owned()));
    eventually("only the good one is left", SOON, || {
        (texts(&server.client().cmd("PUBSUB CHANNELS")) == ["ok1"]).then_some(())
    });
}

/// Applications publish once they see somebody count: a request over two nodes counts when both have it.
#[test]
fn who_is_counted_hears_all_that_it_asked_for() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let [first, second] = [0, 1].map(|node| cluster.key_on(node, "counted"));
    let count = |channel: &str| proxy.client().call(&["PUBSUB", "NUMSUB", channel]).items()[1].int();
    let mut client = Raw::speaking(&proxy.addr(), 3);
    // Its link is up, so that only the subscription is what waits.
    client.call(&["SUBSCRIBE", &format!("{{{second}}}other")]);
    cluster.node(1).freeze();
    client.send(&["SUBSCRIBE", &first, &second]);
    client.send(&["PUBSUB", "NUMSUB", &first]);
    eventually("the first node has it", SOON, || {
        let at_node = cluster.node(0).client().call(&["PUBSUB", "NUMSUB", &first]);
        (at_node.items()[1].int() == 1).then_some(())
    });
    for _ in 0..10 {
        assert_eq!(count(&first), 0, "a message would not be heard yet");
    }
    cluster.node(1).thaw();
    client.read_many(2);
    assert_eq!(client.read().items()[1].int(), 1, "it counts itself behind its own request");
    assert_eq!((count(&first), count(&second)), (1, 1));
    publish(&mut proxy.client(), &second, "m");
    assert_eq!(message(&mut client), (second, "m".to_owned()));
}
