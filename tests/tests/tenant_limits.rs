//! Limits of tenants: each acts as it was told, for its tenant alone, and memory stays flat meanwhile.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use slotway_tests::argv::frame;
use slotway_tests::poll::eventually;
use slotway_tests::ports::Port;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::server::Server;
use slotway_tests::value::Value;

const SOON: Duration = Duration::from_secs(20);

// SHA-256 of "secret".
const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

/// A proxy whose tenants have these limits, each with a user of its own name, and `web` that has none.
struct Limited {
    proxy: Proxy,
    admin: Port,
    server: Server,
}

impl Limited {
    fn start(tenants: &[(&str, &str)]) -> Self {
        Self::with(tenants, &[])
    }

    fn with(tenants: &[(&str, &str)], settings: &[&str]) -> Self {
        let mut text = String::new();
        for (name, limits) in tenants.iter().chain(&[("web", "")]) {
            text.push_str(&format!(
                "[[tenants]]\nname = \"{name}\"\n\
                 users = [{{ name = \"{name}\", passwords_sha256 = [\"{SECRET}\"] }}]\n\
                 [tenants.limits]\n{limits}\n"
            ));
        }
        let (server, admin) = (Server::start(), Port::lease());
        let options = Options::standalone(&format!("redis://{}", server.addr())).config(&text).set(settings);
        let proxy = options.flag("--admin", &format!("127.0.0.1:{}", admin.number())).start();
        Self { proxy, admin, server }
    }

    fn client(&self, tenant: &str, protocol: u8) -> Raw {
        let mut client = self.proxy.client();
        let hello = client.cmd(&format!("HELLO {protocol} AUTH {tenant} secret"));
        assert!(!hello.is_error(), "{hello:?}");
        client
    }

    /// The sum of the rows of `/metrics` that begin like this.
    fn metric(&self, row: &str) -> u64 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin.number())).expect("the admin port");
        let request = b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("a request");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("a page");
        let rows = page.lines().filter(|line| line.starts_with(row));
        let values: Vec<u64> = rows.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect();
        assert!(!values.is_empty(), "no {row} in {page}");
        values.iter().sum()
    }

    fn acted(&self, tenant: &str, limit: &str) -> u64 {
        self.metric(&format!("slotway_tenant_limited_total{{tenant=\"{tenant}\",limit=\"{limit}\"}}"))
    }

    fn used(&self, tenant: &str, gauge: &str) -> u64 {
        self.metric(&format!("slotway_tenant_{gauge}{{tenant=\"{tenant}\"}}"))
    }
}

impl Limited {
    /// What the workers counted.
    fn proxy_metric(&self, name: &str) -> u64 {
        self.metric(&format!("slotway_{name}_total{{"))
    }
}

fn at_limit(limit: &str) -> String {
    format!("ERR slotway: the tenant is at its limit of {limit}, the command did not run")
}

#[test]
fn requests_above_the_rate_are_refused_each_in_its_place() {
    let limits = "requests_per_second = 50\nrequests_per_second_action = \"refuse\"";
    let limited = Limited::start(&[("two", limits), ("three", limits)]);
    for (tenant, protocol) in [("two", 2), ("three", 3)] {
        let mut client = limited.client(tenant, protocol);
        for number in 0..200 {
            client.send_line(&format!("ECHO {number}"));
            client.send_line(&format!("SET {tenant}:{number} 1"));
        }
        let mut refused = 0;
        for number in 0..200 {
            for good in [format!("{number}"), "OK".to_owned()] {
                let reply = client.read();
                if reply.is_error() {
                    assert_eq!(reply.error(), at_limit("requests_per_second"));
                    refused += 1;
                } else {
                    assert_eq!(reply.text(), good, "replies keep their order");
                }
            }
        }
        assert!(refused >= 300, "{refused} of 400");
        assert!(limited.acted(tenant, "requests_per_second") >= refused);
        // What was refused did not run.
        let mut web = limited.client("web", 2);
        let there =
            (0..200).filter(|number| web.cmd(&format!("EXISTS {tenant}:{number}")).int() == 1).count();
        assert!((there as u64) < 400 - refused, "{there} ran, {refused} were refused");
    }
}

#[test]
fn requests_above_the_rate_wait_and_are_all_answered() {
    let limited = Limited::start(&[("shop", "requests_per_second = 200")]);
    for protocol in [2, 3] {
        let mut client = limited.client("shop", protocol);
        let began = Instant::now();
        for number in 0..200 {
            client.send_line(&format!("ECHO {number}"));
        }
        for number in 0..200 {
            assert_eq!(client.read().text(), number.to_string());
        }
        assert!(began.elapsed() > Duration::from_millis(600), "{:?}", began.elapsed());
    }
    assert!(limited.acted("shop", "requests_per_second") > 0);
}

/// Sends `request` over several connections as fast as they take it, ten times as often as its limit lets through;
/// counts what comes of replies that are no errors: how many, and bytes.
fn overload(limited: &Limited, tenant: &str, request: &[u8], time: Duration) -> (u64, u64) {
    let mut clients: Vec<_> = (0..4).map(|_| limited.client(tenant, 2)).collect();
    let until = Instant::now() + time;
    let counted = thread::scope(|scope| {
        let each = clients.iter_mut().map(|client| {
            let mut sender = client.sender();
            scope.spawn(move || {
                while Instant::now() < until && sender.write_all(request).is_ok() {
                    sleep(Duration::from_millis(4));
                }
            });
            scope.spawn(move || {
                client.set_patience(Duration::from_millis(100));
                let (mut count, mut bytes) = (0, 0);
                while Instant::now() < until {
                    match client.try_frame() {
                        Ok(reply) if reply[0] != b'-' => {
                            count += 1;
                            bytes += reply.len() as u64;
                        }
                        Ok(_) => {}
                        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                (count, bytes)
            })
        });
        let each: Vec<_> = each.collect();
        each.into_iter().map(|it| it.join().expect("no panic")).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    });
    // What waits is closed, not served: the writers are not kept.
    drop(clients);
    counted
}

#[test]
fn at_ten_times_the_rate_each_limit_holds_for_ten_seconds_and_memory_stays_flat() {
    let cases: &[(&str, &str, u64)] = &[
        ("requests", "", 1_000),
        ("requests", "refuse", 1_000),
        ("bytes_in", "", 500_000),
        ("bytes_in", "refuse", 500_000),
        ("bytes_out", "", 500_000),
        ("bytes_out", "refuse", 500_000),
    ];
    let names: Vec<_> = cases.iter().map(|(limit, action, _)| format!("{limit}{action}")).collect();
    let limits: Vec<_> = cases
        .iter()
        .map(|(limit, action, rate)| {
            let action = if action.is_empty() { "delay" } else { action };
            format!("{limit}_per_second = {rate}\n{limit}_per_second_action = \"{action}\"")
        })
        .collect();
    let tenants: Vec<_> = names.iter().map(String::as_str).zip(limits.iter().map(String::as_str)).collect();
    let limited = Limited::start(&tenants);
    let mut web = limited.client("web", 2);
    web.call(&["SET", "v", &"v".repeat(1_000)]);
    // Each of four clients says this 250 times a second.
    let value = "v".repeat(1_000);
    let requests = [
        frame(&["INCR", "n"]).repeat(10),
        frame(&["SET", "w", &value]).repeat(5),
        frame(&["GET", "v"]).repeat(5),
    ];
    let time = Duration::from_secs(10);
    let before = limited.proxy.process().resident_bytes();
    let counted: Vec<_> = thread::scope(|scope| {
        let each = cases.iter().zip(&names).map(|((limit, ..), name)| {
            let request = &requests
                [["requests", "bytes_in", "bytes_out"].iter().position(|it| it == limit).expect("a case")];
            let limited = &limited;
            scope.spawn(move || overload(limited, name, request, time))
        });
        let each: Vec<_> = each.collect();
        while !each.iter().all(thread::ScopedJoinHandle::is_finished) {
            assert_eq!(web.cmd("PING").text(), "PONG");
            sleep(Duration::from_millis(50));
        }
        each.into_iter().map(|it| it.join().expect("no panic")).collect()
    });
    let grown = limited.proxy.process().resident_bytes().saturating_sub(before);
    for ((limit, action, rate), (count, bytes)) in cases.iter().zip(&counted) {
        let used = match *limit {
            "requests" => *count,
            "bytes_in" => count * frame(&["SET", "w", &value]).len() as u64,
            _ => *bytes,
        };
        let part = used as f64 / (rate * 10) as f64;
        println!("{limit} {action}: {part:.3} of the rate");
        assert!(part <= 1.05, "{limit} {action}: {part:.3} of the rate");
        // A machine that is busy with other things, for longer than a burst, wastes some of it.
        assert!(part >= 0.5, "{limit} {action}: {part:.3} of the rate");
    }
    assert!(grown < 40 << 20, "{grown} bytes more");
}

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
        assert!(began.elapsed() >= Duration::from_millis(least), "{:?}", began.elapsed());
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
