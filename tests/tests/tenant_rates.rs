//! Rates of tenants: what is above them waits or is refused, and memory stays flat meanwhile.

use std::io::{ErrorKind, Write};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use slotway_tests::argv::frame;
use slotway_tests::limited::{Limited, at_limit};

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
