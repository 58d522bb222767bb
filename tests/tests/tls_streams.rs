//! What goes over a connection of TLS, or should not: requests in whatever records, clients that do not read, and what
//! is no TLS.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use slotway_tests::play::wait_for_blocked;
use slotway_tests::poll::eventually;
use slotway_tests::proxy::Options;
use slotway_tests::server::Server;
use slotway_tests::tls_entry::{Entry, SEEN, over_one_server};
use slotway_tests::value::Value;

#[test]
fn what_was_pipelined_is_answered_in_order_whatever_records_it_came_in() {
    let (_server, entry) = over_one_server();
    for options in [entry.options(), entry.options().only_12()] {
        let mut client = options.connect(&entry.addr());
        let requests: Vec<u8> = (0..3_000)
            .flat_map(|number| {
                slotway_tests::argv::frame(&["ECHO", &format!("{number}{}", "e".repeat(number))])
            })
            .collect();
        let mut rest = requests.as_slice();
        let mut cut = 1;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            client.send_bytes(now).expect("it reads");
            rest = later;
            cut = (cut * 3) % 40_009;
        }
        for number in 0..3_000 {
            let reply = client.read().expect("a reply").text();
            assert_eq!(reply, format!("{number}{}", "e".repeat(number)));
        }
    }
}

#[test]
fn who_says_that_it_sends_nothing_more_still_gets_its_replies() {
    let (_server, entry) = over_one_server();
    for options in [entry.options(), entry.options().only_12()] {
        let mut client = options.connect(&entry.addr());
        let value = "v".repeat(300_000);
        assert_eq!(client.call(&["SET", "k", &value]).text(), "OK");
        for _ in 0..20 {
            client.send_bytes(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n").expect("open");
        }
        client.finish_sending().expect("open");
        for _ in 0..20 {
            assert_eq!(client.read().expect("a reply").text(), value);
        }
        assert!(client.is_closed_politely(), "the end is said by TLS");
    }
}

#[test]
fn a_client_that_does_not_read_is_held_back_and_then_gets_everything() {
    let (_server, entry) = over_one_server();
    let value = "v".repeat(1 << 20);
    assert_eq!(entry.client().call(&["SET", "big", &value]).text(), "OK");
    let mut client = entry.client();
    for _ in 0..64 {
        client.send_bytes(b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n").expect("open");
    }
    // So much that it fills all buffers on the way, long before all of it has come.
    thread::sleep(Duration::from_millis(300));
    for number in 0..64 {
        assert_eq!(client.read().expect("a reply").text(), value, "{number}");
    }
}

#[test]
fn a_blocked_client_that_leaves_takes_nothing_more() {
    let (server, entry) = over_one_server();
    for polite in [true, false] {
        let mut client = entry.client();
        client.send_bytes(b"*3\r\n$5\r\nBLPOP\r\n$1\r\nq\r\n$1\r\n0\r\n").expect("open");
        // In the server: one that reads both at once sees the request, and only later that its connection is closed.
        wait_for_blocked(&server.addr(), 1);
        if polite {
            client.finish_sending().expect("open");
        }
        client.socket().shutdown(Shutdown::Both).expect("open");
        wait_for_blocked(&server.addr(), 0);
        assert_eq!(server.client().cmd("RPUSH q x"), Value::Int(1));
        thread::sleep(Duration::from_millis(100));
        assert_eq!(server.client().cmd("LPOP q").text(), "x");
    }
}

#[test]
fn requests_behind_a_blocked_one_are_not_lost() {
    let (server, entry) = over_one_server();
    let mut client = entry.client();
    client.send_bytes(b"*3\r\n$5\r\nBLPOP\r\n$1\r\nq\r\n$1\r\n0\r\n*1\r\n$4\r\nPING\r\n").expect("open");
    eventually("it waits", SEEN, || (entry.proxy.metric("blocked_clients") == 1).then_some(()));
    // In records of their own, which nobody reads while it waits.
    for number in 0..50 {
        client.send_bytes(&slotway_tests::argv::frame(&["ECHO", &number.to_string()])).expect("open");
    }
    assert_eq!(server.client().cmd("RPUSH q x"), Value::Int(1));
    assert_eq!(client.read().expect("a reply").items().len(), 2);
    assert_eq!(client.read().expect("a reply").text(), "PONG");
    for number in 0..50 {
        assert_eq!(client.read().expect("a reply").text(), number.to_string());
    }
}

#[test]
fn what_is_no_tls_ends_its_own_connection_only() {
    let (_server, entry) = over_one_server();
    let mut bystander = entry.client();
    let hello = captured_hello(&entry);
    let mut attacks: Vec<Vec<u8>> = vec![
        b"*1\r\n$4\r\nPING\r\n".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 100_000],
        b"\x16\x03\x01\xff\xff".to_vec(),
        [&b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc"[..], &[0xff; 20_000]].concat(),
        [&b"\x16\x03\x03\x00\x05"[..], &[1, 0xff, 0xff, 0xff, 0]].concat().repeat(1_000),
        b"\x15\x03\x01\x00\x02\x02\x28".to_vec(),
        b"\x17\x03\x03\x00\x20".repeat(100),
    ];
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..300 {
        let mut bytes = hello.clone();
        for _ in 0..random.usize(1..8) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        bytes.truncate(random.usize(1..=bytes.len()));
        attacks.push(bytes);
    }
    for attack in &attacks {
        let mut raw = TcpStream::connect(entry.addr()).expect("it listens");
        raw.set_read_timeout(Some(SEEN)).expect("a socket");
        let _ = raw.write_all(attack);
        let _ = raw.shutdown(Shutdown::Write);
        let mut said = Vec::new();
        // A reset ends it as well.
        let _ = raw.read_to_end(&mut said);
        assert!(!said.starts_with(b"+"), "{}", attack.escape_ascii());
    }
    assert_eq!(bystander.cmd("PING").text(), "PONG");
    assert_eq!(entry.client().cmd("PING").text(), "PONG");
    eventually("they are counted", SEEN, || (entry.proxy.metric("tls_failed_not_tls") >= 3).then_some(()));
    eventually("none is left", SEEN, || (entry.proxy.metric("tls_handshaking") == 0).then_some(()));
}

/// What a client says first.
fn captured_hello(entry: &Entry) -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound").to_string();
    let options = entry.options();
    let client = thread::spawn(move || options.try_connect(&addr).is_err());
    let (mut stream, _) = listener.accept().expect("it connects");
    let mut bytes = vec![0; 4_096];
    let count = stream.read(&mut bytes).expect("it speaks first");
    drop(stream);
    assert!(client.join().expect("a thread"));
    bytes.truncate(count);
    bytes
}

#[test]
fn garbage_within_an_open_connection_ends_it_only() {
    let (_server, entry) = over_one_server();
    let mut bystander = entry.client();
    for garbage in [&b"*1\r\n$4\r\nPING\r\n"[..], b"\x17\x03\x03\x00\x30", &[0xff; 200_000]] {
        let mut client = entry.client();
        assert_eq!(client.cmd("PING").text(), "PONG");
        // It may be closed by then.
        let _ = client.socket().write_all(garbage);
        let _ = client.socket().shutdown(Shutdown::Write);
        let mut rest = Vec::new();
        let _ = client.socket().read_to_end(&mut rest);
    }
    assert_eq!(bystander.cmd("PING").text(), "PONG");
    eventually("they are gone", SEEN, || (entry.proxy.metric("tls_clients") == 1).then_some(()));
}

#[test]
fn a_slow_handshake_is_closed_in_time() {
    let server = Server::start();
    let options = Options::standalone(&format!("redis://{}", server.addr()));
    let entry = Entry::start(options, "handshake_timeout = \"500ms\"");
    let hello = captured_hello(&entry);
    for bytes in [&hello[..0], &hello[..hello.len() / 2], &hello] {
        let began = Instant::now();
        let mut raw = TcpStream::connect(entry.addr()).expect("it listens");
        raw.set_read_timeout(Some(SEEN)).expect("a socket");
        raw.write_all(bytes).expect("open");
        let mut said = Vec::new();
        let _ = raw.read_to_end(&mut said);
        assert!(began.elapsed() >= Duration::from_millis(450), "closed early: {}", bytes.len());
    }
    eventually("they are counted", SEEN, || (entry.proxy.metric("tls_failed_timeout") == 3).then_some(()));
    assert_eq!(entry.client().cmd("PING").text(), "PONG");
}
