//! Hostile input: a clear error where the server has one, the connection closed, everybody else unharmed and
//! memory flat.

use std::io::Write;
use std::time::Duration;

use slotway_tests::argv::frame;
use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::server::Server;

/// Input that no request begins with, and what a server says before it closes.
const ATTACKS: &[(&[u8], &str)] = &[
    (b"*2147483648\r\n", "invalid multibulk length"),
    (b"*99999999999999999999999\r\n", "invalid multibulk length"),
    (b"*abc\r\n", "invalid multibulk length"),
    (b"*1\r\n$-1\r\n", "invalid bulk length"),
    (b"*1\r\n$-2\r\n", "invalid bulk length"),
    (b"*1\r\n$536870913\r\n", "invalid bulk length"),
    (b"*1\r\n$99999999999999999999\r\n", "invalid bulk length"),
    (b"*1\r\n$abc\r\n", "invalid bulk length"),
    (b"*2\r\n$3\r\nGET\r\n*1\r\n$1\r\na\r\n", "expected '$', got '*'"),
    (b"*1\r\n*1\r\n*1\r\n*1\r\n", "expected '$', got '*'"),
    (b"*1\r\n:5\r\n", "expected '$', got ':'"),
    (b"*1\r\n+PING\r\n", "expected '$', got '+'"),
    (b"GET \"unbalanced\r\n", "unbalanced quotes in request"),
];

/// Input that the proxy refuses in the servers' words, and servers of some version take: they reserve memory
/// for what was only announced.
const STRICTER: &[(&[u8], &str)] =
    &[(b"*1000000000\r\n", "invalid multibulk length"), (b"*1048577\r\n", "invalid multibulk length")];

/// Input that is closed or answered with some error: servers differ or guess.
const OTHERS: &[&[u8]] = &[
    b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost:6379\r\n\r\n",
    b"Host: localhost\r\n",
    b"*1\r\n$4\r\nPINGxx",
    b"*-2147483649\r\n",
    b"*+1\r\n$4\r\nPING\r\n",
    b"*1\r\n$+4\r\nPING\r\n",
    b"* 1\r\n$4\r\nPING\r\n",
    b"*01\r\n$004\r\nPING\r\n",
    b"*1\n$4\nPING\n",
    b"\0\0\0\0\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",
    b"%1\r\n+a\r\n+b\r\n",
    b"$4\r\nPING\r\n",
];

#[test]
fn malformed_requests_get_the_servers_own_error_and_are_closed() {
    let (server, proxy) = start();
    let check = |addr: &str, attack: &[u8], text: &str| {
        let mut raw = Raw::connect(addr);
        raw.send_bytes(attack);
        let said = String::from_utf8_lossy(&raw.read_to_close()).into_owned();
        assert_eq!(said, format!("-ERR Protocol error: {text}\r\n"), "to {}", attack.escape_ascii());
    };
    for (attack, text) in ATTACKS {
        check(&server.addr(), attack, text);
        check(&proxy.addr(), attack, text);
    }
    STRICTER.iter().for_each(|(attack, text)| check(&proxy.addr(), attack, text));
}

#[test]
fn whatever_comes_the_process_and_other_clients_live_on() {
    let (_server, proxy) = start();
    let mut bystander = proxy.client();
    for attack in ATTACKS.iter().map(|(attack, _)| attack).chain(OTHERS) {
        let mut raw = proxy.client();
        raw.send_bytes(attack);
        raw.finish_sending();
        let _said = raw.read_to_close();
        assert_eq!(bystander.cmd("PING").text(), "PONG", "after {}", attack.escape_ascii());
    }
}

#[test]
fn what_came_before_the_malformed_bytes_is_answered_first() {
    let (_server, proxy) = start();
    let mut raw = proxy.client();
    let mut bytes = [frame(&["SET", "a", "1"]), frame(&["GET", "a"])].concat();
    bytes.extend(b"*1\r\n$-5\r\nGET\r\n");
    bytes.extend(frame(&["SET", "a", "2"]));
    raw.send_bytes(&bytes);
    let expected = b"+OK\r\n$1\r\n1\r\n-ERR Protocol error: invalid bulk length\r\n";
    assert_eq!(raw.read_to_close().escape_ascii().to_string(), expected.escape_ascii().to_string());
    assert_eq!(proxy.client().cmd("GET a").text(), "1", "nothing behind the error ran");
}

#[test]
fn empty_requests_are_passed_over() {
    let (_server, proxy) = start();
    let mut raw = proxy.client();
    raw.send_bytes(b"*0\r\n*-1\r\n\r\n*1\r\n$4\r\nPING\r\n");
    assert_eq!(raw.read().text(), "PONG");
}

#[test]
fn one_byte_at_a_time_is_a_request_too() {
    let (_server, proxy) = start();
    let mut raw = proxy.client();
    let mut sender = raw.sender();
    for byte in [frame(&["SET", "slow", "v\r\n\0"]), frame(&["GET", "slow"])].concat() {
        sender.write_all(&[byte]).expect("the proxy reads");
    }
    assert_eq!(raw.read().text(), "OK");
    assert_eq!(raw.read().text(), "v\r\n\0");
}

#[test]
fn a_half_request_leaves_no_trace_when_its_client_goes() {
    let (_server, proxy) = start();
    let whole = frame(&["SET", "half", "value"]);
    for cut in 1..whole.len() {
        let mut raw = proxy.client();
        raw.send_bytes(&whole[..cut]);
        raw.finish_sending();
        let said = raw.read_to_close();
        assert!(said.is_empty(), "{cut}: {}", said.escape_ascii());
    }
    assert_eq!(proxy.client().cmd("EXISTS half").int(), 0);
}

#[test]
fn an_endless_inline_command_is_cut_off() {
    let (server, proxy) = start();
    for addr in [server.addr(), proxy.addr()] {
        let mut raw = Raw::connect(&addr);
        let mut sender = raw.sender();
        // 4 MiB without a line end; the other side may close before all is sent.
        for _ in 0..64 {
            if sender.write_all(&[b'x'; 64 * 1024]).is_err() {
                break;
            }
        }
        let said = raw.read_to_close();
        // A close with unread bytes is a reset, which may overtake the error's text.
        let text = String::from_utf8_lossy(&said);
        assert!(text.is_empty() || text.contains("too big inline request"), "{text}");
    }
    assert_eq!(proxy.client().cmd("PING").text(), "PONG");
}

#[test]
fn an_endless_length_line_is_cut_off() {
    let (server, proxy) = start();
    for head in ["*", "*1\r\n$"] {
        for addr in [server.addr(), proxy.addr()] {
            let mut raw = Raw::connect(&addr);
            let mut sender = raw.sender();
            let _ = sender.write_all(head.as_bytes());
            for _ in 0..64 {
                if sender.write_all(&[b'1'; 64 * 1024]).is_err() {
                    break;
                }
            }
            let said = raw.read_to_close();
            let text = String::from_utf8_lossy(&said);
            assert!(text.is_empty() || text.contains("Protocol error"), "{text}");
        }
    }
}

#[test]
fn lengths_that_are_announced_and_never_sent_cost_no_memory() {
    let (_server, proxy) = start();
    let before = settled_memory(&proxy);
    let mut holders = Vec::new();
    for _ in 0..500 {
        let mut raw = proxy.client();
        raw.send_bytes(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$400000000\r\nbegin");
        let mut many = proxy.client();
        many.send_bytes(b"*1000000\r\n$1\r\nx\r\n");
        holders.extend([raw, many]);
    }
    assert_eq!(proxy.client().cmd("PING").text(), "PONG");
    let during = proxy.process().resident_bytes();
    let grown = during.saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "{grown} bytes for 1,000 clients that announced much and sent nothing");
}

#[test]
fn memory_is_flat_after_thousands_of_attacks() {
    let (_server, proxy) = start();
    let storm = || {
        for _ in 0..60 {
            for attack in ATTACKS.iter().map(|(attack, _)| attack).chain(OTHERS) {
                let mut raw = proxy.client();
                raw.send_bytes(attack);
                raw.finish_sending();
                let _said = raw.read_to_close();
            }
        }
    };
    storm();
    let before = settled_memory(&proxy);
    storm();
    storm();
    let after = settled_memory(&proxy);
    let grown = after.saturating_sub(before);
    assert!(grown < 16 * 1024 * 1024, "{before} bytes before, {after} after");
}

#[test]
fn a_deep_or_wide_reply_is_passed_on_whole() {
    let (_server, proxy) = start();
    let mut client = proxy.client();
    // Lua nests up to the server's own limit of 8,000; half of that is below every limit.
    let nest = "local t = {1}; for i = 1, 500 do t = {t} end; return t";
    client.send(&["EVAL", nest, "0"]);
    let frame = client.read_frame();
    assert!(frame.starts_with(&b"*1\r\n".repeat(501)), "{}", frame.escape_ascii());
    let wide = "local t = {}; for i = 1, 100000 do t[i] = i end; return t";
    assert_eq!(client.call(&["EVAL", wide, "0"]).items().len(), 100_000);
}

#[test]
fn a_value_of_many_megabytes_goes_through_beside_small_ones() {
    let (_server, proxy) = start();
    let value = "x".repeat(32 * 1024 * 1024);
    let mut big = proxy.client();
    let mut small = proxy.client();
    big.send(&["SET", "big", &value]);
    assert_eq!(small.cmd("PING").text(), "PONG");
    assert_eq!(big.read().text(), "OK");
    big.send(&["GET", "big"]);
    for _ in 0..100 {
        assert!(!small.cmd("INCR n").is_error());
    }
    assert_eq!(big.read().text().len(), value.len());
}

fn start() -> (Server, Proxy) {
    let server = Server::start();
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).start();
    (server, proxy)
}

/// Memory once it stops falling: allocators give back with a delay.
fn settled_memory(proxy: &Proxy) -> u64 {
    let mut last = u64::MAX;
    eventually("memory settles", Duration::from_secs(20), || {
        std::thread::sleep(Duration::from_millis(300));
        let now = proxy.process().resident_bytes();
        let settled = now >= last;
        last = now;
        settled.then_some(now)
    })
}
