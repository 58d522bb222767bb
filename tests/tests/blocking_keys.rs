//! Blocking commands beyond one small element: keys in several slots, large elements, exact timeouts.

use std::collections::HashSet;
use std::thread::spawn;
use std::time::{Duration, Instant};

use slotway_tests::cluster::Cluster;
use slotway_tests::play::Theatre;
use slotway_tests::poll::eventually;
use slotway_tests::proxy::Proxy;
use slotway_tests::raw::{PATIENCE, Raw};
use slotway_tests::value::Value;

/// Keys on three nodes, each in a slot of its own.
fn keys_of_three_nodes(cluster: &Cluster) -> Vec<String> {
    (0..3).map(|index| cluster.key_on(index, "queue")).collect()
}

/// One client waits.
#[track_caller]
fn waits(proxy: &Proxy) {
    eventually("one waits", PATIENCE, || (proxy.metric("blocked_clients") == 1).then_some(()));
}

#[test]
fn an_element_of_any_slot_serves_one_who_waits_for_several() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let keys = keys_of_three_nodes(&cluster);
    let (mut waiter, mut pusher) = (proxy.client(), proxy.client());
    let all = keys.join(" ");
    for (round, key) in keys.iter().cycle().take(12).enumerate() {
        waiter.send_line(&format!("BLPOP {all} 0"));
        // How it waits at several nodes is the proxy's own business.
        waits(&proxy);
        pusher.cmd(&format!("RPUSH {key} {round}"));
        let reply = waiter.read();
        assert_eq!((reply.items()[0].text(), reply.items()[1].text()), (key.clone(), round.to_string()));
    }
    assert_eq!(waiter.cmd(&format!("BLPOP {all} 0.1")), Value::Nil);
    for round in 0..50 {
        // What is there is given however short the time: every slot is asked once.
        pusher.cmd(&format!("RPUSH {} {round}", keys[2]));
        assert_eq!(waiter.cmd(&format!("BLPOP {all} 0.001")).items()[1].text(), round.to_string());
    }
    let streams = format!("XREAD BLOCK 0 STREAMS {} 0 0 0", keys.join("s ") + "s");
    waiter.send_line(&streams);
    waits(&proxy);
    pusher.cmd(&format!("XADD {}s 5-5 f v", keys[2]));
    let entry = waiter.read().items()[0].items()[1].items()[0].items()[0].text();
    assert_eq!(entry, "5-5");
    // `$` is asked for first, whatever bytes the last entry has.
    pusher.cmd(&format!("XADD {}s 6-6 \"\\xff\" v", keys[0]));
    assert_eq!(waiter.cmd(&format!("XREAD BLOCK 10 STREAMS {}s $ $ $", keys.join("s "))), Value::Nil);
}

#[test]
fn of_elements_in_several_slots_none_is_lost_and_none_comes_twice() {
    const PRODUCERS: usize = 4;
    const EACH: usize = 1_500;
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let keys = keys_of_three_nodes(&cluster);
    let addr = proxy.addr();
    let consumers: Vec<_> = (0..8)
        .map(|number| {
            // Each in an order of its own.
            let mut keys = keys.clone();
            keys.rotate_left(number % 3);
            let (line, addr) = (format!("BLPOP {} 3", keys.join(" ")), addr.clone());
            spawn(move || {
                let mut client = Raw::connect(&addr);
                let mut got = Vec::new();
                loop {
                    match client.cmd(&line) {
                        Value::Nil => return got,
                        reply => got.push(reply.items()[1].text()),
                    }
                }
            })
        })
        .collect();
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let (keys, addr) = (keys.clone(), addr.clone());
            spawn(move || {
                let mut client = Raw::connect(&addr);
                for number in 0..EACH {
                    let key = &keys[fastrand::usize(..3)];
                    let reply = client.cmd(&format!("RPUSH {key} {producer}-{number}"));
                    assert!(!reply.is_error(), "{reply:?}");
                }
            })
        })
        .collect();
    producers.into_iter().for_each(|producer| producer.join().expect("a producer"));
    let got: Vec<String> = consumers.into_iter().flat_map(|consumer| consumer.join().expect("one")).collect();
    let distinct: HashSet<&String> = got.iter().collect();
    let left: i64 = keys.iter().map(|key| proxy.client().cmd(&format!("LLEN {key}")).int()).sum();
    assert_eq!(distinct.len(), got.len(), "an element came twice");
    assert_eq!(got.len() as i64 + left, (PRODUCERS * EACH) as i64, "an element was lost ({left} left)");
    assert_eq!(left, 0, "left while consumers waited for it");
}

#[test]
fn large_elements_are_popped_whole() {
    let theatre = Theatre::both();
    for size in [100 * 1024, 5 * 1024 * 1024] {
        let element: Vec<u8> = (0..size).map(|at| b'a' + (at % 26) as u8).collect();
        for stage in theatre.stages() {
            let (mut waiter, mut pusher) = (stage.client(), stage.client());
            let push = || [b"RPUSH".as_slice(), b"big", &element];
            pusher.call(&push());
            let there = waiter.cmd("BLPOP big 0");
            waiter.send_line("BLPOP big 0");
            waiter.send_line("ECHO next");
            stage.wait_for_blocked(1);
            pusher.call(&push());
            let later = waiter.read();
            for reply in [there, later] {
                let Value::Bulk(popped) = &reply.items()[1] else { panic!("no element") };
                assert!(*popped == element, "{} bytes of {size} came, or others", popped.len());
            }
            assert_eq!(waiter.read().text(), "next");
        }
    }
}

#[test]
fn timeouts_are_kept() {
    const ROUNDS: usize = 7;
    let theatre = Theatre::both();
    for (line, least) in [
        ("BLPOP k 0.3", 300),
        ("BLPOP k 0.05", 50),
        ("BZPOPMIN k 1", 1_000),
        ("XREAD BLOCK 150 STREAMS k $", 150),
        ("BLMOVE {q}a {q}b LEFT LEFT 0.01", 10),
    ] {
        let least = Duration::from_millis(least);
        let medians: Vec<Duration> = theatre
            .stages()
            .map(|stage| {
                let mut client = stage.client();
                let mut times: Vec<Duration> = (0..ROUNDS)
                    .map(|_| {
                        let start = Instant::now();
                        assert_eq!(client.cmd(line), Value::Nil, "{line}");
                        start.elapsed()
                    })
                    .collect();
                times.sort_unstable();
                // The servers' own clock is in whole milliseconds.
                assert!(times[0] + Duration::from_millis(2) >= least, "{line} came early: {times:?}");
                assert!(times[ROUNDS / 2] < least + Duration::from_millis(250), "{line} late: {times:?}");
                times[ROUNDS / 2]
            })
            .collect();
        println!("{line}: medians {medians:?}");
        // A plain server is up to 100 ms late: it looks at its clients ten times a second.
        for median in &medians[1..] {
            assert!(*median < least + Duration::from_millis(20), "{line}: {median:?}");
        }
    }
}

#[test]
fn zero_waits_for_ever() {
    let theatre = Theatre::standalone();
    let stage = theatre.proxied();
    let mut client = stage.client();
    for (line, seconds) in [("BLPOP k 0", 7), ("BLPOP k 0.0", 1), ("BLPOP k 0e1", 1)] {
        client.send_line(line);
        stage.wait_for_blocked(1);
        // The first for longer than `command_timeout`.
        assert!(client.is_silent_for(Duration::from_secs(seconds)), "{line}");
        stage.client().cmd("RPUSH k x");
        assert_eq!(client.read().items()[1].text(), "x");
    }
}
