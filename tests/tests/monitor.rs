//! MONITOR through the proxy: what all its clients say, whichever worker serves them.

use std::thread::spawn;
use std::time::Duration;

use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::server::Server;
use slotway_tests::value::Value;

const SOON: Duration = Duration::from_secs(20);

/// What a monitor says itself, and how many frames come by that: replies, then what it is shown.
const SCRIPT: &[(&str, usize)] = &[
    ("MONITOR", 1),
    ("PING", 2),
    ("ECHO \"a\\\\b\"", 2),
    ("AUTH secret", 2),
    ("AUTH default secret", 2),
    ("HELLO 3 AUTH default secret SETNAME me", 2),
    ("HELLO 2", 2),
    ("CONFIG GET maxmemory", 1),
    ("NOSUCH", 1),
    ("GET", 1),
    ("GET k", 1),
    ("SET k v", 1),
    ("MONITOR", 0),
    ("SELECT 1", 2),
    ("SUBSCRIBE a", 2),
    ("PING", 2),
    ("ECHO x", 1),
    ("RESET", 1),
    ("ECHO x", 1),
    ("MONITOR", 1),
    ("QUIT", 2),
];

/// The frames of a script, without what differs by nature: times, addresses, ids.
fn play(addr: &str) -> Vec<(&'static str, String)> {
    let mut client = Raw::connect(addr);
    let mut played = Vec::new();
    for &(line, frames) in SCRIPT {
        client.send_line(line);
        let mut frames: Vec<String> =
            (0..frames).map_while(|_| client.try_frame().ok()).map(|frame| without_nature(&frame)).collect();
        // A reply that has to be waited for comes behind the line.
        frames.sort_unstable();
        played.push((line, frames.join(" ")));
    }
    played
}

fn without_nature(frame: &[u8]) -> String {
    let text = String::from_utf8_lossy(frame).into_owned();
    if let Some((_, shown)) = text.split_once("] ")
        && text.starts_with("+1")
    {
        let database = text.split_once('[').and_then(|(_, rest)| rest.split_once(' '));
        return format!("[{}] {shown}", database.map_or("", |(database, _)| database));
    }
    // HELLO's reply tells an id.
    if text.contains("proto") { "HELLO's reply".to_owned() } else { text }
}

#[test]
fn a_monitor_sees_what_a_server_would_show_it() {
    let server = Server::start();
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).start();
    let (direct, through) = (play(&server.addr()), play(&proxy.addr()));
    for (direct, through) in direct.iter().zip(&through) {
        assert_eq!(direct, through);
    }
}

#[test]
fn monitors_see_the_clients_of_all_workers() {
    let (_server, proxy) = start(&[]);
    let mut monitors: Vec<Raw> = (0..4).map(|_| proxy.client()).collect();
    for monitor in &mut monitors {
        assert_eq!(monitor.cmd("MONITOR").text(), "OK");
    }
    let mut clients: Vec<Raw> = (0..8).map(|_| proxy.client()).collect();
    eventually("all workers know of the monitors", SOON, || {
        (metric(&mut clients[0], "monitors") == 4).then_some(())
    });
    let list = clients[0].cmd("CLIENT LIST").text();
    assert_eq!(list.lines().filter(|line| line.contains(" flags=O ")).count(), 4, "{list}");
    for round in 0..50 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.cmd(&format!("SET {{k}}{number} {round}"));
        }
    }
    for monitor in &mut monitors {
        let mut rounds = [0; 8];
        while rounds.iter().any(|seen| *seen < 50) {
            let line = monitor.read().text();
            let Some((_, words)) = line.split_once("\"SET\" \"{k}") else { continue };
            let (number, round) = words.split_once("\" \"").expect("a key and a value");
            let number: usize = number.parse().expect("a number");
            assert_eq!(round.trim_end_matches('"'), rounds[number].to_string(), "each once, in order");
            rounds[number] += 1;
        }
    }
    drop(monitors);
    eventually("nobody watches", SOON, || (metric(&mut clients[0], "monitors") == 0).then_some(()));
}

#[test]
fn a_monitor_that_does_not_read_costs_only_itself() {
    let (_server, proxy) = start(&["clients.pubsub_output_hard=1MiB", "clients.pubsub_output_soft=1MiB"]);
    let mut slow: Vec<Raw> = (0..2).map(|_| proxy.client()).collect();
    for monitor in &mut slow {
        monitor.cmd("MONITOR");
    }
    let value = "v".repeat(10_000);
    let busy: Vec<_> = (0..4)
        .map(|number| {
            let (mut client, value) = (proxy.client(), value.clone());
            spawn(move || {
                for _ in 0..1_000 {
                    assert_eq!(client.call(&["SET", &format!("k{number}"), &value]).text(), "OK");
                }
            })
        })
        .collect();
    for client in busy {
        client.join().expect("every reply");
    }
    let mut other = proxy.client();
    eventually("the monitors are closed", SOON, || (metric(&mut other, "monitors") == 0).then_some(()));
    assert_eq!(metric(&mut other, "pubsub_clients_killed"), 2);
}

#[test]
fn a_monitor_sees_what_is_said_as_soon_as_it_is_told_that_it_is_one() {
    let (_server, proxy) = start(&[]);
    let mut client = proxy.client();
    for number in 0..400 {
        let mut monitor = proxy.client();
        assert_eq!(monitor.cmd("MONITOR").text(), "OK");
        client.cmd(&format!("ECHO {number}"));
        let shown = monitor.read().text();
        assert!(shown.contains(&format!("\"ECHO\" \"{number}\"")), "{number}: {shown}");
    }
}

#[test]
fn a_request_too_long_to_be_shown_closes_monitors_and_is_served() {
    let (_server, proxy) = start(&["clients.pubsub_output_hard=1MiB", "clients.pubsub_output_soft=1MiB"]);
    let mut monitors: Vec<Raw> = (0..2).map(|_| proxy.client()).collect();
    for monitor in &mut monitors {
        monitor.cmd("MONITOR");
    }
    let mut client = proxy.client();
    assert_eq!(client.call(&["SET", "k", &"v".repeat(2 << 20)]).text(), "OK");
    for mut monitor in monitors {
        assert!(!String::from_utf8_lossy(&monitor.read_to_close()).contains("vvv"));
    }
}

fn start(settings: &[&str]) -> (Server, Proxy) {
    let server = Server::start();
    let options = Options::standalone(&format!("redis://{}", server.addr()));
    let proxy = settings.iter().fold(options, |options, setting| options.flag("--set", setting)).start();
    (server, proxy)
}

fn metric(client: &mut Raw, name: &str) -> u64 {
    let info: Value = client.cmd("INFO slotway");
    let info = info.text();
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {info}"))
}
