//! Limits: what one client may cost, and that a client at its limit harms only itself.

use std::io::Write;
use std::thread::spawn;
use std::time::Duration;

use slotway_tests::argv::frame;
use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::secret::SECRET;
use slotway_tests::server::Server;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn clients_above_the_limit_are_told_so_and_closed() {
    let (_server, proxy) = start(&["clients.max_clients=10"]);
    // Those that the fixture asked with may still be leaving.
    let mut clients = Vec::new();
    eventually("ten clients are in", SOON, || {
        let mut client = proxy.client();
        if client.try_call(&["PING"]).is_ok_and(|reply| reply.text() == "PONG") {
            clients.push(client);
        }
        (clients.len() == 10).then_some(())
    });
    for _ in 0..5 {
        let mut surplus = proxy.client();
        assert_eq!(surplus.read_to_close(), b"-ERR max number of clients reached\r\n");
    }
    assert!(clients.iter_mut().all(|client| client.cmd("PING").text() == "PONG"));
    clients.pop();
    eventually("a place is free again", SOON, || {
        proxy.client().try_call(&["PING"]).is_ok_and(|reply| reply.text() == "PONG").then_some(())
    });
}

#[test]
fn a_client_that_does_not_read_is_slowed_and_others_are_not() {
    let (_server, proxy) = start(&["clients.reply_high_watermark=64KiB", "clients.max_pending=16"]);
    let mut client = proxy.client();
    let value = "x".repeat(1024 * 1024);
    assert_eq!(client.call(&["SET", "big", &value]).text(), "OK");
    let mut slow = proxy.client();
    let mut sender = slow.sender();
    // 500 MiB of replies, none read yet.
    let requests = frame(&["GET", "big"]).repeat(500);
    let sending = spawn(move || sender.write_all(&requests));
    for number in 1..=500 {
        assert_eq!(client.cmd("INCR n").int(), number);
    }
    let grown = proxy.process().resident_bytes();
    assert!(grown < 100 * 1024 * 1024, "{grown} bytes: the replies of a client that does not read pile up");
    for _ in 0..500 {
        assert_eq!(slow.read().text().len(), value.len(), "slowed, not cheated");
    }
    sending.join().expect("a sender").expect("all requests were taken");
}

#[test]
fn above_the_memory_limit_the_largest_holders_are_closed_and_others_are_not() {
    let (_server, proxy) = start(&["clients.memory_limit=64MiB"]);
    let mut small = proxy.client();
    // Each sends 8 MiB of a request that never ends: 320 MiB in all.
    let beginning = [&b"*2\r\n$4\r\nECHO\r\n$100000000\r\n"[..], &vec![b'x'; 8 << 20]].concat();
    let mut holders: Vec<_> = (0..40).map(|_| proxy.client()).collect();
    let mut cut = 0;
    for holder in &mut holders {
        cut += usize::from(holder.try_send_bytes(&beginning).is_err());
        assert_eq!(small.cmd("PING").text(), "PONG");
    }
    eventually("the proxy is below its limit", SOON, || {
        let info = small.cmd("INFO memory").text();
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")?.parse::<u64>().ok());
        used.is_some_and(|used| used < 64 << 20).then_some(())
    });
    let shed = small.cmd("INFO slotway").text();
    assert!(
        shed.lines().any(|line| line.starts_with("clients_shed:") && line != "clients_shed:0"),
        "{cut} cut"
    );
}

#[test]
fn a_pipeline_that_is_written_whole_before_it_is_read_is_answered() {
    let (_server, proxy) = start(&[]);
    let mut client = proxy.client();
    client.set_patience(Duration::from_secs(60));
    // More of both than the kernel's buffers take: 25 MiB of requests, 20 MiB of replies.
    let key = "k".repeat(100);
    assert_eq!(client.call(&["SET", &key, &"v".repeat(90)]).text(), "OK");
    client.send_bytes(&frame(&["GET", &key]).repeat(200_000));
    for _ in 0..200_000 {
        assert_eq!(client.read().text().len(), 90);
    }
}

#[test]
fn a_client_at_its_reply_limit_is_closed() {
    let (_server, proxy) = start(&["clients.reply_high_watermark=64KiB", "clients.reply_limit=1MiB"]);
    let mut client = proxy.client();
    let value = "x".repeat(8 * 1024 * 1024);
    assert_eq!(client.call(&["SET", "big", &value]).text(), "OK");
    let mut slow = proxy.client();
    slow.cmd("CLIENT SETNAME slow");
    for _ in 0..10 {
        slow.send(&["GET", "big"]);
    }
    for number in 1..=200 {
        assert_eq!(client.cmd("INCR n").int(), number);
    }
    let used = proxy.process().resident_bytes();
    assert!(used < 200 * 1024 * 1024, "{used} bytes");
    // It is still connected on its side and has not read a byte.
    eventually("the slow client is closed", SOON, || {
        (!client.cmd("CLIENT LIST").text().contains("name=slow")).then_some(())
    });
    assert!(slow.read_to_close().len() < 80 * 1024 * 1024);
}

#[test]
fn a_pipeline_above_the_pending_limit_waits_and_loses_nothing() {
    let (_server, proxy) = start(&["clients.max_pending=4"]);
    let mut client = proxy.client();
    let mut sender = client.sender();
    let sending = spawn(move || {
        let requests = (0..5_000).map(|number| format!("RPUSH list {number}\r\n"));
        sender.write_all(requests.collect::<String>().as_bytes())
    });
    for number in 1..=5_000 {
        assert_eq!(client.read().int(), number);
    }
    sending.join().expect("a sender").expect("all was taken");
}

#[test]
fn arguments_and_requests_above_their_limits_are_protocol_errors() {
    let (_server, proxy) =
        start(&["clients.max_bulk=64KiB", "clients.max_request=128KiB", "clients.max_args=100"]);
    let too_long = format!("*2\r\n$4\r\nECHO\r\n${}\r\n", 64 * 1024 + 1);
    let too_many = "*101\r\n$4\r\nMGET\r\n".to_owned();
    for (request, text) in [(too_long, "invalid bulk length"), (too_many, "invalid multibulk length")] {
        let mut raw = proxy.client();
        raw.send_bytes(request.as_bytes());
        let said = raw.read_to_close();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(said, format!("-ERR Protocol error: {text}\r\n"));
    }
    let mut client = proxy.client();
    let fits = "x".repeat(64 * 1024);
    assert_eq!(client.call(&["ECHO", &fits]).text(), fits);
}

#[test]
fn an_idle_client_is_closed_where_an_idle_timeout_is_set() {
    let (_server, proxy) = start(&["clients.idle_timeout=1s"]);
    let mut idle = proxy.client();
    assert_eq!(idle.cmd("PING").text(), "PONG");
    assert!(idle.read_to_close().is_empty());
}

#[test]
fn before_login_a_client_may_send_little() {
    let server = Server::start();
    let users = format!("[[users]]\npasswords_sha256 = [\"{SECRET}\"]\n");
    let standalone = format!("redis://{}", server.addr());
    let proxy = Options::standalone(&standalone).config(&users).start();
    // The servers' own limits before AUTH: 10 arguments, 16 KiB each.
    for (request, text) in [
        ("*11\r\n$4\r\nMGET\r\n", "unauthenticated multibulk length"),
        ("*2\r\n$4\r\nECHO\r\n$16385\r\n", "unauthenticated bulk length"),
    ] {
        let mut raw = proxy.client();
        raw.send_bytes(request.as_bytes());
        let said = raw.read_to_close();
        assert_eq!(String::from_utf8_lossy(&said), format!("-ERR Protocol error: {text}\r\n"));
    }
}

fn start(settings: &[&str]) -> (Server, Proxy) {
    let server = Server::start();
    let options = Options::standalone(&format!("redis://{}", server.addr()));
    let proxy = settings.iter().fold(options, |options, setting| options.flag("--set", setting)).start();
    (server, proxy)
}
