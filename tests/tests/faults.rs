//! Faults: a dead or frozen shard is its own commands' matter only, everything recovers by itself, and what a
//! backend says or does in the wrong moment never makes a command run twice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use slotway_tests::cluster::Cluster;
use slotway_tests::fake::{Action, Fake, Script};
use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy, answered};
use slotway_tests::raw::{Raw, is_gone};
use slotway_tests::server::{Kind, Server};
use slotway_tests::value::Value;

/// The project's promise: after faults stop everything recovers within this.
const RECOVERY: Duration = Duration::from_secs(10);

/// `command_timeout` of these tests: short, so that failures come soon.
const DEADLINE: &str = "cluster.command_timeout=2s";

#[test]
fn a_killed_shard_fails_its_own_commands_only_and_recovers_by_itself() {
    let mut cluster = Cluster::start();
    let proxy = Options::cluster(&cluster.urls()).flag("--set", DEADLINE).start();
    let mut client = proxy.client();
    let (lost, kept) = (cluster.key_on(0, "lost"), cluster.key_on(1, "kept"));
    client.cmd(&format!("SET {lost} 1"));
    client.cmd(&format!("SET {kept} 1"));
    cluster.node_mut(0).kill();
    for _ in 0..20 {
        client.send_line(&format!("GET {kept}"));
        client.send_line(&format!("GET {lost}"));
        client.send_line(&format!("GET {kept}"));
        let replies = client.read_many(3);
        assert_eq!((replies[0].text(), replies[2].text()), ("1".into(), "1".into()));
        assert!(replies[1].is_error(), "{replies:?}");
    }
    let mget = client.cmd(&format!("MGET {kept} {lost}"));
    assert!(mget.is_error(), "half an answer is none: {mget:?}");
    cluster.node_mut(0).restart();
    answered(&mut client, &format!("SET {lost} 2"), RECOVERY);
    assert_eq!(client.cmd(&format!("GET {lost}")).text(), "2");
}

#[test]
fn a_frozen_shard_fails_its_own_commands_within_the_deadline_and_others_go_on() {
    let cluster = Cluster::start();
    let proxy = Options::cluster(&cluster.urls()).flag("--set", DEADLINE).start();
    let (frozen, kept) = (cluster.key_on(2, "frozen"), cluster.key_on(1, "kept"));
    let mut waiting = proxy.client();
    let mut other = proxy.client();
    other.cmd(&format!("SET {kept} 1"));
    cluster.node(2).freeze();
    waiting.send_line(&format!("GET {frozen}"));
    for _ in 0..200 {
        assert_eq!(other.cmd(&format!("GET {kept}")).text(), "1");
    }
    let failed = waiting.read();
    assert!(failed.is_error(), "{failed:?}");
    assert_eq!(waiting.cmd(&format!("GET {kept}")).text(), "1", "the same client goes on elsewhere");
    cluster.node(2).thaw();
    answered(&mut waiting, &format!("SET {frozen} 1"), RECOVERY);
}

#[test]
fn a_replica_takes_over_from_a_killed_primary() {
    let mut cluster = Cluster::with(Kind::usual(), 3, 3);
    let proxy = Proxy::over(&cluster);
    let mut client = proxy.client();
    let key = cluster.key_on(0, "key");
    client.cmd(&format!("SET {key} before"));
    eventually("the replica has it", RECOVERY, || {
        let mut replica = cluster.node(3).client();
        replica.cmd("READONLY");
        (replica.cmd(&format!("GET {key}")).text() == "before").then_some(())
    });
    cluster.node_mut(0).kill();
    // The cluster itself needs its node timeout and an election first.
    answered(&mut client, &format!("SET {key} after"), Duration::from_secs(30));
    assert_eq!(client.cmd(&format!("GET {key}")).text(), "after");
    assert_eq!(cluster.node(3).info("role").as_deref(), Some("master"));
}

#[test]
fn a_restarted_standalone_server_is_found_again() {
    let mut server = Server::start();
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).flag("--set", DEADLINE).start();
    let mut client = proxy.client();
    for _ in 0..3 {
        server.kill();
        assert!(client.cmd("GET a").is_error());
        server.restart();
        answered(&mut client, "SET a 1", RECOVERY);
    }
}

#[test]
fn a_proxy_may_start_before_its_backends() {
    let mut server = Server::start();
    server.kill();
    let proxy =
        Options::standalone(&format!("redis://{}", server.addr())).flag("--set", DEADLINE).eager().start();
    let mut client = proxy.client();
    let refused = client.cmd("GET a");
    assert!(refused.is_error(), "{refused:?}");
    server.restart();
    answered(&mut client, "SET a 1", RECOVERY);
}

#[test]
fn redirects_are_followed_without_the_client_noticing() {
    let target = Fake::start(|_| Action::bulk("from the target"));
    let target_addr = target.addr();
    let moved = format!("-MOVED 12182 {target_addr}");
    let ask = format!("-ASK 5061 {target_addr}");
    let source = Fake::start(move |request| match request.text(1).as_str() {
        "foo" => Action::line(&moved),
        "bar" => Action::line(&ask),
        _ => Action::bulk("from the source"),
    });
    let (proxy, mut client) = over_fake(&source);
    assert_eq!(client.cmd("GET foo").text(), "from the target");
    assert_eq!(client.cmd("GET bar").text(), "from the target");
    assert_eq!(client.cmd("GET other").text(), "from the source");
    let _alive = proxy;
}

#[test]
fn replies_that_say_later_are_asked_again_until_they_are_answered() {
    for text in [
        "-TRYAGAIN Multiple keys request during rehashing of slot",
        "-LOADING Redis is loading the dataset in memory",
        "-CLUSTERDOWN The cluster is down",
        "-READONLY You can't write against a read only replica.",
    ] {
        let fake = Fake::start(move |request| match (request.name().as_str(), request.nth) {
            ("SET", 1..4) => Action::line(text),
            _ => Action::line("+OK"),
        });
        let (_proxy, mut client) = over_fake(&fake);
        assert_eq!(client.cmd("SET k v").text(), "OK", "{text}");
        assert_eq!(fake.count("SET"), 4, "{text}");
    }
}

#[test]
fn a_node_that_says_later_for_ever_ends_in_its_own_error_at_the_deadline() {
    let fake = Fake::start(|request| match request.name().as_str() {
        "SET" => Action::line("-CLUSTERDOWN The cluster is down"),
        _ => Action::line("+OK"),
    });
    let (_proxy, mut client) = over_fake(&fake);
    let reply = client.cmd("SET k v");
    assert!(reply.error().starts_with("CLUSTERDOWN") || reply.is_error(), "{reply:?}");
    assert!(fake.count("SET") < 2_000, "asked again with pauses, not as fast as it can");
    assert_eq!(client.cmd("INCR k").text(), "OK", "the connection goes on");
}

#[test]
fn nothing_overtakes_a_request_that_is_sent_again() {
    let tries = AtomicUsize::new(0);
    let fake = Fake::start(move |request| match request.name().as_str() {
        "MSET" if tries.fetch_add(1, Ordering::Relaxed) < 4 => {
            Action::line("-TRYAGAIN Multiple keys request during rehashing of slot")
        }
        _ => Action::line("+OK"),
    });
    let (_proxy, mut client) = over_fake(&fake);
    client.send_line("MSET {a}x 1 {a}y 1");
    // Not in one write: the first is on hold by the time that the second arrives.
    eventually("the first was asked for twice", RECOVERY, || (fake.count("MSET") >= 2).then_some(()));
    client.send_line("SET {a}x 2");
    assert!(client.read_many(2).iter().all(|reply| reply.text() == "OK"));
    let received = fake.received();
    let ran = |name| received.iter().rposition(|request| request.name() == name);
    assert!(ran("MSET") < ran("SET"), "the second ran behind the last of the first");
}

#[test]
fn a_request_that_may_have_run_is_answered_with_an_error_and_not_sent_again() {
    let fake = Fake::start(|request| match request.name().as_str() {
        "INCR" => Action::Close(Vec::new()),
        _ => Action::line("+OK"),
    });
    let (_proxy, mut client) = over_fake(&fake);
    for round in 1..=5 {
        let reply = client.cmd("INCR k");
        assert!(reply.is_error(), "{reply:?}");
        assert_eq!(fake.count("INCR"), round);
        answered(&mut client, "SET a 1", RECOVERY);
    }
}

#[test]
fn half_a_reply_is_no_reply() {
    let fake = Fake::start(|request| match request.name().as_str() {
        "GET" => Action::Close(b"$10\r\nhalf".to_vec()),
        _ => Action::line("+OK"),
    });
    let (_proxy, mut client) = over_fake(&fake);
    client.send_line("GET k");
    let reply = client.read_frame();
    assert!(reply.starts_with(b"-"), "{}", reply.escape_ascii());
    answered(&mut client, "SET a 1", RECOVERY);
    assert_eq!(fake.count("GET"), 1);
}

#[test]
fn a_request_that_was_never_sent_is_not_lost() {
    let fake = Fake::start(|_| Action::line("+OK"));
    let (_proxy, mut client) = over_fake(&fake);
    assert_eq!(client.cmd("SET k 1").text(), "OK");
    for _ in 0..5 {
        // While nobody asks anything, every connection is lost: the next command opens another.
        fake.close_connections();
        let reply = client.cmd("SET k 2");
        // It may have been written in the moment of the close; then, and only then, an error is right.
        assert!(reply.text() == "OK" || reply.error().contains("may have run"), "{reply:?}");
    }
    fake.refuse_connections(true);
    fake.close_connections();
    eventually("the proxy sees the close", RECOVERY, || {
        let reply = client.cmd("PING");
        (reply.text() == "PONG").then_some(())
    });
    client.send_line("SET waiting 1");
    assert!(client.is_silent_for(Duration::from_millis(300)) || fake.count("SET") > 0);
    fake.refuse_connections(false);
    let reply = client.read();
    assert!(reply.text() == "OK" || reply.error().contains("may have run"), "{reply:?}");
}

#[test]
fn bytes_that_are_no_reply_close_the_shared_connection_and_fail_what_waits_on_it() {
    // What stands in a line (`:12x`) is the client's to judge: it shifts nobody's reply.
    for garbage in ["hello there\r\n", "$-2\r\n", "*2000000000\r\n", "$5\r\nabcdefgh\r\n", "\r\n"] {
        let fake = Fake::start(move |request| match (request.name().as_str(), request.connection) {
            ("LPOP", _) => Action::Reply(garbage.as_bytes().to_vec()),
            ("GET", _) => Action::bulk(&request.text(1)),
            _ => Action::line("+OK"),
        });
        let (_proxy, mut client) = over_fake(&fake);
        assert_eq!(client.cmd("GET before").text(), "before");
        client.send_line("LPOP l");
        let failed = client.read();
        assert!(failed.is_error(), "{garbage:?}: {failed:?}");
        for number in 0..20 {
            // Whatever was read behind the garbage must not be taken for somebody's reply.
            let reply = answered(&mut client, &format!("GET key:{number}"), RECOVERY);
            assert_eq!(reply.text(), format!("key:{number}"), "after {garbage:?}");
        }
        assert_eq!(fake.count("LPOP"), 1);
    }
}

#[test]
fn a_reply_nobody_asked_for_is_given_to_nobody() {
    let fake = Fake::start(|request| match request.name().as_str() {
        "LPOP" => Action::Reply(b"$3\r\none\r\n$7\r\nsurplus\r\n".to_vec()),
        "GET" => Action::bulk(&request.text(1)),
        _ => Action::line("+OK"),
    });
    let (_proxy, mut client) = over_fake(&fake);
    let first = client.cmd("LPOP l");
    assert!(first.text() == "one" || first.is_error(), "{first:?}");
    for number in 0..20 {
        let reply = answered(&mut client, &format!("GET key:{number}"), RECOVERY);
        assert_eq!(reply.text(), format!("key:{number}"));
    }
}

#[test]
fn a_client_that_leaves_does_not_shift_the_replies_of_others() {
    let fake = Fake::start(|request| match request.name().as_str() {
        "LPOP" => Action::Late(Duration::from_millis(200), b"$6\r\nleaver\r\n".to_vec()),
        _ => Action::bulk(&request.text(1)),
    });
    let (proxy, mut client) = over_fake(&fake);
    for number in 0..5 {
        let mut leaver = proxy.client();
        leaver.send_line("LPOP l");
        eventually("the request has arrived", RECOVERY, || (fake.count("LPOP") == number + 1).then_some(()));
        drop(leaver);
        assert_eq!(client.cmd(&format!("GET stays:{number}")).text(), format!("stays:{number}"));
    }
}

#[test]
fn a_node_that_never_answers_costs_an_error_at_the_deadline_and_no_second_run() {
    let scripts: Vec<Box<Script>> =
        vec![Box::new(|_| Action::Silence), Box::new(|request| Action::bulk(&request.text(1)))];
    let fakes = Fake::cluster(scripts);
    let proxy =
        Options::cluster(&[format!("redis://{}", fakes[1].addr())]).flag("--set", DEADLINE).eager().start();
    let mut client = proxy.client();
    // bar is in slot 5061, foo in 12182.
    client.send_line("INCR bar");
    client.send_line("GET foo");
    let mut other = proxy.client();
    assert_eq!(other.cmd("GET foo").text(), "foo");
    let replies = client.read_many(2);
    assert!(replies[0].is_error(), "{replies:?}");
    assert_eq!(replies[1].text(), "foo");
    assert_eq!(fakes[0].count("INCR"), 1);
}

#[test]
fn a_seed_that_is_down_is_passed_over() {
    let mut cluster = Cluster::start();
    let urls = cluster.urls();
    let mut dead = Server::start();
    let seeds = [format!("redis://{}", dead.addr()), urls[1].clone()];
    dead.kill();
    let proxy = Options::cluster(&seeds).start();
    assert_eq!(proxy.client().cmd("SET a 1").text(), "OK");
    // Nor does the proxy need its seeds later on.
    cluster.node_mut(1).kill();
    let key = cluster.key_on(0, "key");
    assert_eq!(proxy.client().cmd(&format!("SET {key} 1")).text(), "OK");
}

#[test]
fn a_client_whose_reply_is_lost_sees_its_connection_open() {
    let fake = Fake::start(|_| Action::Close(Vec::new()));
    let (_proxy, mut client) = over_fake(&fake);
    for _ in 0..3 {
        match client.try_call(&["LPOP", "l"]) {
            Ok(reply) => assert!(matches!(reply, Value::Error(_)), "{reply:?}"),
            Err(error) => panic!("closed: {} ({error})", is_gone(&error)),
        }
    }
}

fn over_fake(fake: &Fake) -> (Proxy, Raw) {
    let seed = format!("redis://{}", fake.addr());
    let proxy = Options::cluster(&[seed]).flag("--set", DEADLINE).eager().start();
    let mut client = proxy.client();
    // The proxy listens before it knows the topology.
    eventually("the topology is known", RECOVERY, || {
        (!client.cmd("PFCOUNT warm").error().starts_with("LOADING")).then_some(())
    });
    (proxy, client)
}
