//! Limits of tenants: each acts as it was told, for its tenant alone, and memory stays flat meanwhile.

use std::io::Write;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use slotway_tests::argv::frame;
use slotway_tests::limited::{Limited, at_limit};
use slotway_tests::poll::eventually;
use slotway_tests::proxy::Options;
use slotway_tests::raw::Raw;
use slotway_tests::server::Server;
use slotway_tests::value::Value;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_tenant_has_as_many_clients_as_it_may_and_no_more() {
    let limited = Limited::start(&[("shop", "clients = 2")]);
    let mut clients = [limited.client("shop", 2), limited.client("shop", 3)];
    assert_eq!(limited.used("shop", "clients"), 2);
    for line in ["AUTH shop secret", "HELLO 3 AUTH shop secret"] {
        let mut surplus = limited.proxy.client();
        surplus.send_line(line);
        assert_eq!(surplus.read_to_close(), b"-ERR max number of clients reached\r\n");
    }
    assert_eq!(limited.acted("shop", "clients"), 2);
    assert!(clients.iter_mut().all(|client| client.cmd("PING").text() == "PONG"));
    // One goes over to another tenant, and back.
    assert_eq!(clients[0].cmd("AUTH web secret").text(), "OK");
    let third = limited.client("shop", 2);
    assert_eq!(limited.used("shop", "clients"), 2);
    drop(third);
    eventually("a place is free again", SOON, || (limited.used("shop", "clients") == 1).then_some(()));
    assert_eq!(clients[0].cmd("AUTH shop secret").text(), "OK");
    assert_eq!(limited.used("shop", "clients"), 2);
}

#[test]
fn clients_of_a_tenant_that_needs_no_login_are_refused_when_they_connect() {
    let server = Server::start();
    let text = "[[tenants]]\nname = \"default\"\n[tenants.limits]\nclients = 3\n";
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).config(text).start();
    let mut clients = Vec::new();
    // Those that the fixture asked with may still be leaving.
    eventually("three clients are in", SOON, || {
        let mut client = proxy.client();
        if client.try_call(&["PING"]).is_ok_and(|reply| !reply.is_error()) {
            clients.push(client);
        }
        (clients.len() == 3).then_some(())
    });
    assert_eq!(proxy.client().read_to_close(), b"-ERR max number of clients reached\r\n");
    assert!(clients.iter_mut().all(|client| client.cmd("PING").text() == "PONG"));
}

#[test]
fn blocking_commands_above_the_limit_wait_or_are_refused() {
    let limits = ["blocked_clients = 1", "blocked_clients = 1\nblocked_clients_action = \"refuse\""];
    let limited = Limited::start(&[("delay", limits[0]), ("refuse", limits[1])]);
    let mut web = limited.client("web", 2);
    for protocol in [2, 3] {
        let mut first = limited.client("refuse", protocol);
        first.send_line("BLPOP refuse 0");
        eventually("it blocks", SOON, || (limited.used("refuse", "blocked_clients") == 1).then_some(()));
        let mut second = limited.client("refuse", protocol);
        assert_eq!(second.cmd("BLPOP other 0").error(), at_limit("blocked_clients"));
        assert_eq!(second.cmd("PING").text(), "PONG");
        web.cmd("RPUSH refuse a");
        assert_eq!(first.read().items()[1].text(), "a");
        web.cmd("RPUSH other b");
        assert_eq!(second.cmd("BLPOP other 0").items()[1].text(), "b");
        eventually("none blocks", SOON, || (limited.used("refuse", "blocked_clients") == 0).then_some(()));
    }
    assert_eq!(limited.acted("refuse", "blocked_clients"), 2);

    let mut first = limited.client("delay", 2);
    first.send_line("BLPOP delay 0");
    eventually("it blocks", SOON, || (limited.used("delay", "blocked_clients") == 1).then_some(()));
    let mut second = limited.client("delay", 2);
    second.send_line("BLPOP second 0");
    second.send_line("ECHO behind");
    web.cmd("RPUSH second b");
    assert!(second.is_silent_for(Duration::from_millis(200)), "it has to wait for the first one");
    web.cmd("RPUSH delay a");
    assert_eq!(first.read().items()[1].text(), "a");
    assert_eq!(second.read().items()[1].text(), "b");
    assert_eq!(second.read().text(), "behind");
    assert_eq!(limited.used("delay", "blocked_clients"), 0);
    assert_eq!(limited.acted("delay", "blocked_clients"), 1);
}

#[test]
fn private_connections_above_the_limit_are_waited_for_or_refused() {
    let limits =
        ["private_connections = 1", "private_connections = 1\nprivate_connections_action = \"refuse\""];
    let limited = Limited::start(&[("delay", limits[0]), ("refuse", limits[1])]);
    let mut web = limited.client("web", 2);
    let mut watching = limited.client("refuse", 2);
    assert_eq!(watching.cmd("WATCH a").text(), "OK");
    assert_eq!(limited.used("refuse", "private_connections"), 1);
    let mut other = limited.client("refuse", 3);
    assert_eq!(other.cmd("WATCH a").error(), at_limit("private_connections"));
    assert_eq!(other.cmd("BLPOP list 0").error(), at_limit("private_connections"));
    // What is there is taken without one.
    web.cmd("RPUSH list a");
    assert_eq!(other.cmd("BLPOP list 0").items()[1].text(), "a");
    watching.cmd("UNWATCH");
    eventually("it is given back", SOON, || {
        (limited.used("refuse", "private_connections") == 0).then_some(())
    });
    assert_eq!(other.cmd("WATCH a").text(), "OK");

    let mut watching = limited.client("delay", 2);
    assert_eq!(watching.cmd("WATCH a").text(), "OK");
    let mut other = limited.client("delay", 2);
    assert!(other.cmd("BLPOP empty 0.3") == Value::Nil, "its time is over, as without any data");
    other.send_line("BLPOP waits 0");
    assert!(other.is_silent_for(Duration::from_millis(200)));
    assert_eq!(limited.used("delay", "private_connections"), 1);
    watching.cmd("UNWATCH");
    eventually("the other one has it", SOON, || {
        (web.cmd("CLIENT LIST").is_error() || limited.used("delay", "private_connections") == 1).then_some(())
    });
    web.cmd("RPUSH waits b");
    assert_eq!(other.read().items()[1].text(), "b");
    assert!(limited.acted("delay", "private_connections") >= 2);
}

#[test]
fn requests_of_a_client_above_the_pending_limit_wait_or_are_refused() {
    let limits = ["pending = 4", "pending = 4\npending_action = \"refuse\""];
    let limited =
        Limited::with(&[("delay", limits[0]), ("refuse", limits[1])], &["cluster.command_timeout=60s"]);
    for (tenant, protocol) in [("delay", 2), ("refuse", 3)] {
        let mut client = limited.client(tenant, protocol);
        limited.server.freeze();
        let before = limited.proxy_metric("backend_requests");
        for number in 0..10 {
            client.send_line(&format!("SET {tenant}{number} {number}"));
        }
        eventually("the limit acts", SOON, || (limited.acted(tenant, "pending") > 0).then_some(()));
        assert_eq!(limited.proxy_metric("backend_requests") - before, 4);
        limited.server.thaw();
        let replies = client.read_many(10);
        assert!(replies[..4].iter().all(|reply| reply.text() == "OK"));
        for reply in &replies[4..] {
            match tenant {
                "delay" => assert_eq!(reply.text(), "OK"),
                _ => assert_eq!(reply.error(), at_limit("pending")),
            }
        }
    }
}

#[test]
fn replies_that_a_client_does_not_take_stop_it_or_have_its_requests_refused() {
    let limits = ["reply_buffer = \"256KiB\"", "reply_buffer = \"256KiB\"\nreply_buffer_action = \"refuse\""];
    let limited = Limited::start(&[("delay", limits[0]), ("refuse", limits[1])]);
    let mut web = limited.client("web", 2);
    web.call(&["SET", "big", &"x".repeat(1 << 20)]);
    for (tenant, protocol) in [("delay", 2), ("refuse", 3)] {
        let mut client = limited.client(tenant, protocol);
        for _ in 0..40 {
            // One after the other: what is under way is not in the buffer yet.
            client.send_line("GET big");
            sleep(Duration::from_millis(5));
        }
        eventually("the limit acts", SOON, || (limited.acted(tenant, "reply_buffer") > 0).then_some(()));
        let waiting = limited.used(tenant, "bytes_in_flight");
        assert!(waiting < 8 << 20, "{waiting} bytes of 40 MiB wait");
        let replies = client.read_many(40);
        let refused = replies.iter().filter(|reply| reply.is_error()).count();
        match tenant {
            "delay" => assert_eq!(refused, 0, "slowed, not cheated"),
            _ => assert!(refused > 10, "{refused} of 40"),
        }
    }
}

#[test]
fn bytes_in_flight_stay_below_their_limit() {
    let limits =
        ["bytes_in_flight = \"1MiB\"", "bytes_in_flight = \"1MiB\"\nbytes_in_flight_action = \"refuse\""];
    let limited = Limited::start(&[("delay", limits[0]), ("refuse", limits[1])]);
    let mut web = limited.client("web", 2);
    let value = "x".repeat(100_000);
    web.call(&["SET", "big", &value]);
    for (tenant, protocol) in [("delay", 2), ("refuse", 3)] {
        // None of them reads: the kernel's buffers are full soon.
        let mut clients: Vec<_> = (0..8).map(|_| limited.client(tenant, protocol)).collect();
        let requests = frame(&["GET", "big"]).repeat(100);
        clients.iter_mut().for_each(|client| client.send_bytes(&requests));
        eventually("the limit acts", SOON, || (limited.acted(tenant, "bytes_in_flight") > 0).then_some(()));
        for _ in 0..20 {
            assert_eq!(web.cmd("GET big").text().len(), value.len(), "others are served");
            let used = limited.used(tenant, "bytes_in_flight");
            // What was under way when it was reached comes, too: no more than the requests that fit.
            assert!(used < 24 << 20, "{used} bytes of 80 MB");
        }
        let mut refused = 0;
        thread::scope(|scope| {
            let reads = clients.iter_mut().map(|client| {
                scope.spawn(|| client.read_many(100).iter().filter(|reply| reply.is_error()).count())
            });
            let reads: Vec<_> = reads.collect();
            refused = reads.into_iter().map(|read| read.join().expect("no panic")).sum();
        });
        match tenant {
            "delay" => assert_eq!(refused, 0, "slowed, not cheated"),
            _ => assert!(refused > 0),
        }
        eventually("nothing is in flight", SOON, || {
            (limited.used(tenant, "bytes_in_flight") == 0).then_some(())
        });
    }
}

#[test]
fn requests_that_fill_the_limit_before_any_is_whole_come_to_their_end_all_the_same() {
    let limited = Limited::start(&[("shop", "bytes_in_flight = \"256KiB\"")]);
    let value = "x".repeat(200_000);
    let mut clients: Vec<_> = (0..6).map(|_| limited.client("shop", 2)).collect();
    let request = frame(&["SET", "big", &value]);
    let (begin, end) = request.split_at(100_000);
    clients.iter_mut().for_each(|client| client.send_bytes(begin));
    sleep(Duration::from_millis(200));
    let senders: Vec<_> = clients.iter().map(Raw::sender).collect();
    thread::scope(|scope| {
        for mut sender in senders {
            scope.spawn(move || sender.write_all(end).expect("taken in the end"));
        }
        assert!(clients.iter_mut().all(|client| client.read().text() == "OK"));
    });
}

#[test]
fn who_holds_up_others_with_half_a_request_is_closed() {
    let limited = Limited::start(&[("shop", "bytes_in_flight = \"256KiB\"")]);
    let request = frame(&["SET", "big", &"x".repeat(200_000)]);
    let mut stalling: Vec<_> = (0..3).map(|_| limited.client("shop", 2)).collect();
    let mut served = [limited.client("shop", 2), limited.client("shop", 2)];
    stalling.iter_mut().for_each(|client| client.send_bytes(&request[..150_000]));
    eventually("the limit acts", SOON, || (limited.acted("shop", "bytes_in_flight") > 0).then_some(()));
    for client in &mut served {
        assert_eq!(client.cmd("ECHO a").text(), "a");
    }
    assert!(limited.proxy_metric("clients_stalled") > 0);
}

#[test]
fn a_value_above_the_limit_is_refused_by_its_length() {
    let limited = Limited::start(&[("shop", "max_value = \"2KiB\"")]);
    for protocol in [2, 3] {
        let mut client = limited.client("shop", protocol);
        assert_eq!(client.call(&["SET", "v", &"x".repeat(2_048)]).text(), "OK");
        client.send_line("ECHO before");
        client.send_bytes(b"*3\r\n$3\r\nSET\r\n$1\r\nv\r\n$2049\r\n");
        assert_eq!(client.read().text(), "before");
        let said = "-ERR Protocol error: argument larger than max_value of the tenant's limits\r\n";
        assert_eq!(client.read_to_close(), said.as_bytes());
    }
    assert_eq!(limited.acted("shop", "max_value"), 2);
    let mut inline = limited.client("shop", 2);
    inline.send_bytes(format!("SET v {}\r\n", "x".repeat(3_000)).as_bytes());
    assert!(inline.read().error().contains("max_value"));
    let mut web = limited.client("web", 2);
    assert_eq!(web.call(&["SET", "v", &"x".repeat(2_049)]).text(), "OK");
}

#[test]
fn a_client_that_leaves_while_it_is_delayed_is_forgotten_and_what_it_asked_does_not_run() {
    let limited = Limited::start(&[("shop", "requests_per_second = 1")]);
    let mut leaving = limited.client("shop", 2);
    for _ in 0..100 {
        leaving.send_line("INCR gone");
    }
    eventually("it waits", SOON, || (limited.acted("shop", "requests_per_second") > 0).then_some(()));
    drop(leaving);
    eventually("it is gone", SOON, || (limited.used("shop", "clients") == 0).then_some(()));
    eventually("with its bytes", SOON, || (limited.used("shop", "bytes_in_flight") == 0).then_some(()));
    let mut web = limited.client("web", 2);
    let ran = web.cmd("GET gone");
    sleep(Duration::from_millis(1_500));
    assert_eq!(web.cmd("GET gone"), ran, "nobody waits for it any more");
}

#[test]
fn a_refused_command_ends_its_transaction() {
    let limits = "requests_per_second = 40\nrequests_per_second_action = \"refuse\"";
    let limited = Limited::start(&[("shop", limits)]);
    let mut client = limited.client("shop", 2);
    sleep(Duration::from_secs(1));
    let commands = [frame(&["MULTI"]), frame(&["SET", "half", "1"]).repeat(60)].concat();
    client.send_bytes(&commands);
    let replies = client.read_many(61);
    assert_eq!((replies[0].text(), replies[1].text()), ("OK".to_owned(), "QUEUED".to_owned()));
    assert_eq!(replies[60].error(), at_limit("requests_per_second"));
    sleep(Duration::from_secs(1));
    assert!(client.cmd("EXEC").error().starts_with("EXECABORT"));
    assert_eq!(limited.client("web", 2).cmd("EXISTS half").int(), 0);
}

#[test]
fn a_tenant_at_its_limits_leaves_another_alone() {
    let limited = Limited::start(&[("shop", "requests_per_second = 100\nbytes_in_flight = \"64KiB\"")]);
    let mut busy: Vec<_> = (0..20).map(|_| limited.client("shop", 2)).collect();
    let requests = frame(&["INCR", "n"]).repeat(1_000);
    busy.iter_mut().for_each(|client| client.send_bytes(&requests));
    eventually("the limit acts", SOON, || (limited.acted("shop", "requests_per_second") > 0).then_some(()));
    let mut web = limited.client("web", 3);
    let began = Instant::now();
    for number in 1..=500 {
        assert_eq!(web.cmd("INCR web").int(), number);
    }
    // At the rate of the other it would be five seconds.
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let waits = limited.acted("shop", "requests_per_second") + limited.acted("shop", "bytes_in_flight");
    assert!(waits >= 20, "{waits}: each of them waits");
}

#[test]
fn logins_that_fail_are_answered_later_and_later_and_others_are_not() {
    let limited = Limited::start(&[]);
    let mut guessing = limited.proxy.client();
    let mut other = limited.client("web", 2);
    for _ in 0..3 {
        assert!(guessing.cmd("AUTH web guess").error().starts_with("WRONGPASS"));
    }
    for (line, least) in [("AUTH web guess", 250), ("HELLO 3 AUTH nobody guess", 500)] {
        let began = Instant::now();
        guessing.send_line(line);
        assert_eq!(other.cmd("PING").text(), "PONG");
        assert!(guessing.read().error().starts_with("WRONGPASS"));
        // By a clock of whole milliseconds: two readings are up to one less apart than they say.
        assert!(began.elapsed() >= Duration::from_millis(least - 1), "{:?}", began.elapsed());
    }
    assert_eq!(limited.proxy_metric("logins_failed_password"), 4);
    assert_eq!(limited.proxy_metric("logins_failed_user"), 1);
    assert_eq!(limited.proxy_metric("logins_delayed"), 2);
    // The right one waits, too, behind what it said before and in front of what follows; then nothing is delayed.
    guessing.send_line("AUTH web secret");
    guessing.send_line("ECHO behind");
    assert_eq!(guessing.read().text(), "OK");
    assert_eq!(guessing.read().text(), "behind");
    let began = Instant::now();
    assert!(guessing.cmd("AUTH web guess").error().starts_with("WRONGPASS"));
    assert!(began.elapsed() < Duration::from_millis(1_000), "{:?}", began.elapsed());
    assert_eq!(limited.proxy_metric("logins_delayed"), 3);
    let log = limited.proxy.process().log_tail();
    assert!(!log.contains("guess") && !log.contains("secret"), "{log}");
}
