//! How much a subscriber may have waiting, and how many subscriptions there may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::spawn;
use std::time::{Duration, Instant};

use slotway_tests::cluster::Cluster;
use slotway_tests::poll::eventually;
use slotway_tests::proxy::Proxy;
use slotway_tests::raw::Raw;
use slotway_tests::subscriber::{first_word, message, publish, start, texts};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn subscribers_are_not_cut_by_timeouts() {
    let (_server, proxy) = start(&["cluster.command_timeout=1s", "clients.idle_timeout=1s"]);
    let mut client = proxy.client();
    client.cmd("SUBSCRIBE a");
    let mut resp3 = Raw::speaking(&proxy.addr(), 3);
    resp3.cmd("SSUBSCRIBE s");
    let mut idle = proxy.client();
    // Past both timeouts: a client that is no subscriber is gone.
    assert!(idle.read_to_close().is_empty());
    assert!(client.is_silent_for(Duration::from_secs(4)));
    let mut other = proxy.client();
    publish(&mut other, "a", "m");
    assert_eq!(message(&mut client), ("a".to_owned(), "m".to_owned()));
    other.cmd("SPUBLISH s n");
    assert_eq!(message(&mut resp3), ("s".to_owned(), "n".to_owned()));
    assert_eq!(proxy.metric("pubsub_resubscribed"), 0);
}

#[test]
fn a_slow_subscriber_is_cut_at_the_hard_limit_and_others_get_everything() {
    let (_server, proxy) = start(&["clients.pubsub_output_soft=1MiB", "clients.pubsub_output_hard=4MiB"]);
    let mut slow = proxy.client();
    slow.cmd("CLIENT SETNAME slow");
    slow.cmd("SUBSCRIBE flood");
    let text = "x".repeat(100_000);
    let read = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..4)
        .map(|number| {
            let mut client = Raw::speaking(&proxy.addr(), 2 + (number % 2) as u8);
            client.cmd("SUBSCRIBE flood");
            let (text, read) = (text.clone(), read.clone());
            spawn(move || {
                for number in 0..300 {
                    assert_eq!(message(&mut client).1, format!("{number} {text}"));
                    read.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut other = proxy.client();
    for number in 0..300 {
        // The others are not slow: they are given the time that a busy machine takes.
        let keeps_up = 4 * usize::saturating_sub(number, 10);
        eventually("the readers keep up", SOON, || (read.load(Ordering::Relaxed) >= keeps_up).then_some(()));
        publish(&mut other, "flood", &format!("{number} {text}"));
    }
    for reader in readers {
        reader.join().expect("everything in order");
    }
    eventually("the slow one is closed", SOON, || {
        (!other.cmd("CLIENT LIST").text().contains("name=slow")).then_some(())
    });
    assert_eq!(proxy.metric("pubsub_clients_killed"), 1);
    assert_eq!(proxy.metric("subscribed_clients"), 0);
    // What it was sent before: not all of it.
    assert!(slow.read_to_close().len() < 300 * 100_000);
}

#[test]
fn a_slow_subscriber_is_cut_behind_the_soft_limits_time() {
    let (_server, proxy) = start(&["clients.pubsub_output_soft=64KiB", "clients.pubsub_output_soft_time=2s"]);
    let mut slow = proxy.client();
    slow.cmd("CLIENT SETNAME slow");
    slow.cmd("SUBSCRIBE flood");
    let mut other = proxy.client();
    let text = "x".repeat(1 << 20);
    let begun = Instant::now();
    // More than the kernel takes, less than the hard limit.
    for _ in 0..16 {
        publish(&mut other, "flood", &text);
    }
    eventually("the slow one is closed", SOON, || {
        (!other.cmd("CLIENT LIST").text().contains("name=slow")).then_some(())
    });
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(proxy.metric("pubsub_clients_killed"), 1);
}

#[test]
fn large_messages_arrive_whole_and_those_above_the_limit_close_their_subscribers() {
    let (_server, proxy) = start(&["clients.pubsub_output_hard=16MiB"]);
    let mut clients: Vec<Raw> = (0..6).map(|number| Raw::speaking(&proxy.addr(), 2 + number % 2)).collect();
    for client in &mut clients {
        client.cmd("SUBSCRIBE large");
    }
    let mut bystander = proxy.client();
    bystander.cmd("SUBSCRIBE other");
    let mut other = proxy.client();
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            spawn(move || {
                for size in [40_000, 3_000_000, 1, 9_000_000] {
                    let (_, text) = message(&mut client);
                    assert!(text.len() == size && text.bytes().all(|byte| byte == b'y'));
                }
                client
            })
        })
        .collect();
    for size in [40_000, 3_000_000, 1, 9_000_000] {
        publish(&mut other, "large", &"y".repeat(size));
    }
    let clients: Vec<Raw> = readers.into_iter().map(|reader| reader.join().expect("whole")).collect();
    publish(&mut other, "large", &"y".repeat(17 << 20));
    for mut client in clients {
        assert!(client.read_to_close().is_empty(), "not a piece of it");
    }
    publish(&mut other, "other", "m");
    assert_eq!(message(&mut bystander), ("other".to_owned(), "m".to_owned()));
    assert_eq!(proxy.metric("pubsub_clients_killed"), 6);
}

#[test]
fn a_storm_of_subscriptions_ends_with_none_at_the_backends() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let storms: Vec<_> = (0..4u64)
        .map(|seed| {
            let addr = proxy.addr();
            spawn(move || storm(&addr, seed))
        })
        .collect();
    for storm in storms {
        storm.join().expect("each request has its confirmations");
    }
    eventually("nothing is left", SOON, || {
        let at_nodes = (0..3).map(|node| {
            let mut node = cluster.node(node).client();
            texts(&node.cmd("PUBSUB CHANNELS")).len()
                + texts(&node.cmd("PUBSUB SHARDCHANNELS")).len()
                + node.cmd("PUBSUB NUMPAT").int() as usize
        });
        (at_nodes.sum::<usize>() == 0).then_some(())
    });
    assert_eq!(proxy.metric("subscriptions_backend"), 0);
    assert_eq!(proxy.metric("subscribed_clients"), 0);
}

/// Subscribes and leaves at random, in pipelines; some clients say goodbye, some just go.
fn storm(addr: &str, seed: u64) {
    let mut state = seed + 1;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for _ in 0..20 {
        let mut client = Raw::speaking(addr, 3);
        for _ in 0..10 {
            let mut expected = 0;
            for _ in 0..random(10) + 1 {
                let prefix = ["", "P", "S"][random(3) as usize];
                let verb = ["SUBSCRIBE", "UNSUBSCRIBE"][random(2) as usize];
                let names: Vec<String> = (0..=random(3)).map(|_| format!("storm:{}", random(12))).collect();
                client.send_line(&format!("{prefix}{verb} {}", names.join(" ")));
                expected += names.len();
            }
            // Nothing is published: whatever comes is a confirmation.
            for reply in client.read_many(expected) {
                assert!(first_word(&reply).ends_with("subscribe"), "{reply:?}");
            }
        }
        match random(3) {
            0 => assert_eq!(client.cmd("RESET").text(), "RESET"),
            1 => assert_eq!(client.cmd("QUIT").text(), "OK"),
            _ => client.send_line("SUBSCRIBE storm:last"),
        }
    }
}

#[test]
fn ten_thousand_channels_of_one_client_are_confirmed_and_left() {
    let (server, proxy) = start(&[]);
    let mut client = proxy.client();
    let names: Vec<String> = (0..10_000).map(|number| format!("c{number}")).collect();
    let mut argv = vec!["SUBSCRIBE"];
    argv.extend(names.iter().map(String::as_str));
    client.send(&argv);
    client.send_line("SUBSCRIBE behind");
    for number in 1..=10_001 {
        assert_eq!(client.read().items()[2].int(), number);
    }
    assert_eq!(texts(&server.client().cmd("PUBSUB CHANNELS")).len(), 10_001);
    client.send_line("UNSUBSCRIBE");
    for number in (0..10_001).rev() {
        assert_eq!(client.read().items()[2].int(), number);
    }
    eventually("the server was left", SOON, || {
        texts(&server.client().cmd("PUBSUB CHANNELS")).is_empty().then_some(())
    });
}
