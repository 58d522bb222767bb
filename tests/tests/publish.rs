//! Publishers: what real DNS servers, balancers and files say of a fleet's entries.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;
use std::{fs, thread};

use slotway_tests::dir::Dir;
use slotway_tests::door::Door;
use slotway_tests::installed::program;
use slotway_tests::nameserver::{Brand, NAME, NameServer, SECRET};
use slotway_tests::page::{number, page};
use slotway_tests::poll::eventually;
use slotway_tests::ports::Port;
use slotway_tests::process::Process;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::server::Server;

const SOON: Duration = Duration::from_secs(20);
const ALL: [&str; 3] = ["127.0.0.21", "127.0.0.22", "127.0.0.23"];

/// Three balancers in front of proxies.
struct Fleet {
    server: Server,
    port: Port,
    doors: Vec<Door>,
}

/// A proxy of the fleet.
struct Member {
    proxy: Proxy,
    admin: String,
    agent: String,
    _ports: [Port; 2],
}

impl Fleet {
    fn start() -> Self {
        let (server, port) = (Server::start(), Port::lease());
        // Nobody is behind them yet.
        let doors = ALL.map(|host| Door::open(&format!("{host}:{}", port.number()), "127.0.0.1:1"));
        Self { server, port, doors: doors.into() }
    }

    fn settings(&self, admin: &str, agent: &str, publishers: &str) -> String {
        let port = self.port.number();
        let mut text = format!(
            "admin = \"{admin}\"\n[fleet]\nname = \"{NAME}\"\nport = {port}\nagent_check = \"{agent}\"\n{publishers}\n"
        );
        for (id, address) in ["a", "b", "c"].iter().zip(ALL) {
            let _ = write!(
                text,
                "[[fleet.entries]]\nid = \"{id}\"\naddresses = [\"{address}\"]\ncap = \"100Mbit\"\n"
            );
        }
        text
    }

    fn member(&self, publishers: &str) -> Member {
        let ports = [Port::lease(), Port::lease()];
        let [admin, agent] = [&ports[0], &ports[1]].map(|port| format!("127.0.0.1:{}", port.number()));
        let settings = self.settings(&admin, &agent, publishers);
        let url = format!("redis://{}", self.server.addr());
        let proxy = Options::standalone(&url).config(&settings).start();
        for door in &self.doors {
            door.lead_to(&proxy.addr());
        }
        Member { proxy, admin, agent, _ports: ports }
    }
}

impl Member {
    fn number(&self, name: &str) -> u64 {
        number(&self.admin, name).unwrap_or_default()
    }

    fn published(&self, publisher: &str) -> u64 {
        self.number(&format!("slotway_publisher_published_total{{publisher=\"{publisher}\"}}"))
    }

    #[track_caller]
    fn wait_for_failure(&self, reason: &str) {
        let name = format!("slotway_publisher_failures_total{{publisher=\"rfc2136\",reason=\"{reason}\"}}");
        eventually(&name, SOON, || (self.number(&name) > 0).then_some(()));
    }
}

/// The settings of updates of `server`, looked after once a second.
fn updates(server: &NameServer, more: &str) -> String {
    format!(
        "[fleet.rfc2136]\nservers = [\"{}\"]\nzone = \"example.test\"\nttl = \"5s\"\nverify_interval = \"1s\"\n{more}\n",
        server.addr()
    )
}

fn keyed(server: &NameServer) -> String {
    updates(server, &format!("key_name = \"slotway\"\nkey = \"{SECRET}\""))
}

/// What every server that takes updates has to show.
fn keeps_a_name(brand: Brand) -> Option<(Fleet, Member, NameServer)> {
    let server = NameServer::start(brand)?;
    let mut fleet = Fleet::start();
    let member = fleet.member(&keyed(&server));
    server.wait_for(&ALL, SOON);
    fleet.doors[1].close();
    server.wait_for(&[ALL[0], ALL[2]], SOON);
    fleet.doors[1].reopen();
    server.wait_for(&ALL, SOON);
    // All that is as it should be is left alone.
    let (serial, published) = (server.serial(), member.published("rfc2136"));
    thread::sleep(Duration::from_secs(3));
    assert_eq!((server.serial(), member.published("rfc2136")), (serial, published));
    Some((fleet, member, server))
}

#[test]
fn bind_is_kept_at_the_plan_whatever_happens_to_the_zone() {
    let Some((_fleet, member, mut server)) = keeps_a_name(Brand::Bind) else { return };
    server.update(&format!("update delete {NAME} A"));
    server.wait_for(&ALL, SOON);
    server.update(&format!("update add {NAME} 5 A 192.0.2.99"));
    server.wait_for(&ALL, SOON);
    server.stop();
    member.wait_for_failure("unreachable");
    server.resume();
    server.wait_for(&ALL, SOON);
    server.stop();
    server.lose_zone();
    server.resume();
    server.wait_for(&ALL, SOON);
    let entries = page(&member.admin, "/entries");
    let line = "in force: 127.0.0.21 127.0.0.22 127.0.0.23";
    assert!(entries.contains("rfc2136: published") && entries.contains(line), "{entries}");
    let log = member.proxy.process().log();
    assert!(!log.contains(SECRET), "the key is in the log");
}

#[test]
fn knot_is_kept_at_the_plan() {
    let _ = keeps_a_name(Brand::Knot);
}

#[test]
fn powerdns_is_kept_at_the_plan() {
    let _ = keeps_a_name(Brand::Powerdns);
}

#[test]
fn two_proxies_change_a_zone_no_more_often_than_one() {
    let Some(server) = NameServer::start(Brand::Bind) else { return };
    let mut fleet = Fleet::start();
    let before = server.serial();
    let members = [(); 2].map(|()| fleet.member(&keyed(&server)));
    server.wait_for(&ALL, SOON);
    fleet.doors[0].close();
    server.wait_for(&ALL[1..], SOON);
    fleet.doors[0].reopen();
    server.wait_for(&ALL, SOON);
    thread::sleep(Duration::from_secs(7));
    let published: u64 = members.iter().map(|member| member.published("rfc2136")).sum();
    assert_eq!(u64::from(server.serial() - before), published, "each change is one of theirs");
    // The name, an entry out, an entry in; a first look may have found an entry that was not up yet.
    assert!((3..=5).contains(&published), "{published} changes");
    // Whoever does not lead takes over where the other one is gone.
    let [first, second] = members;
    let (leader, other) =
        if first.number("slotway_fleet_leads") == 1 { (first, second) } else { (second, first) };
    drop(leader);
    fleet.doors.iter().for_each(|door| door.lead_to(&other.proxy.addr()));
    server.update(&format!("update delete {NAME} A"));
    server.wait_for(&ALL, SOON);
}

#[test]
fn what_is_wrong_with_a_key_or_a_policy_is_told_once() {
    let Some(server) = NameServer::start(Brand::Bind) else { return };
    let fleet = Fleet::start();
    let other = "b3RoZXJzZWNyZXRvdGhlcnNlY3JldG90aGVy";
    for (key, secret, more, reason, words) in [
        ("slotway", other, "", "badsig", "BADSIG"),
        ("unknown", SECRET, "", "badkey", "BADKEY"),
        ("powerless", SECRET, "", "refused", "REFUSED"),
        ("slotway", SECRET, "name = \"alias.example.test\"", "alias", "CNAME"),
    ] {
        let more = format!("key_name = \"{key}\"\nkey = \"{secret}\"\n{more}");
        let member = fleet.member(&updates(&server, &more));
        member.wait_for_failure(reason);
        let log = || member.proxy.process().log();
        eventually(words, SOON, || log().contains(words).then_some(()));
        // It has been tried more than once by then.
        let failures =
            format!("slotway_publisher_failures_total{{publisher=\"rfc2136\",reason=\"{reason}\"}}");
        eventually("it is tried again", SOON, || (member.number(&failures) > 1).then_some(()));
        let log = log();
        assert_eq!(log.matches(words).count(), 1, "{log}");
        assert!(page(&member.admin, "/entries").contains(words));
    }
    assert!(server.dig(NAME, "A").is_empty());
}

#[test]
fn a_key_that_is_put_right_by_a_reload_publishes() {
    let Some(server) = NameServer::start(Brand::Bind) else { return };
    let fleet = Fleet::start();
    let wrong = updates(&server, "key_name = \"slotway\"\nkey = \"b3RoZXI=\"");
    let member = fleet.member(&wrong);
    member.wait_for_failure("badsig");
    member.proxy.rewrite(&fleet.settings(&member.admin, &member.agent, &keyed(&server)));
    member.proxy.hang_up();
    server.wait_for(&ALL, SOON);
    let files = server.file("weights").display().to_string();
    let settings = format!("[fleet.files]\ncoredns = \"{files}\"");
    member.proxy.rewrite(&fleet.settings(&member.admin, &member.agent, &settings));
    member.proxy.hang_up();
    eventually("the file is there", SOON, || fs::metadata(&files).ok());
    assert!(
        !page(&member.admin, "/metrics").contains("publisher=\"rfc2136\""),
        "it is no publisher any more"
    );
}

#[test]
fn a_zone_is_kept_while_the_cluster_is_away() {
    let Some(server) = NameServer::start(Brand::Bind) else { return };
    let mut fleet = Fleet::start();
    let members = [(); 2].map(|()| fleet.member(&keyed(&server)));
    server.wait_for(&ALL, SOON);
    fleet.server.kill();
    eventually("all lead", SOON, || {
        members.iter().all(|member| member.number("slotway_fleet_leads") == 1).then_some(())
    });
    fleet.doors[1].close();
    server.wait_for(&[ALL[0], ALL[2]], SOON);
    server.update(&format!("update delete {NAME} A"));
    server.wait_for(&[ALL[0], ALL[2]], SOON);
    let serial = server.serial();
    thread::sleep(Duration::from_secs(7));
    assert_eq!(server.serial(), serial, "nobody undoes the other's work");
}

#[test]
fn gdnsd_follows_its_file() {
    let Some(server) = NameServer::start(Brand::Gdnsd) else { return };
    let mut fleet = Fleet::start();
    let file = server.file("weights").display().to_string();
    let _member = fleet.member(&format!("[fleet.files]\ngdnsd = \"{file}\""));
    let expect = |states: [&str; 3]| {
        let lines = ALL.iter().zip(states).map(|(address, state)| format!("{address} => {state}/15\n"));
        let text: String = lines.collect();
        eventually(&text, SOON, || (fs::read_to_string(&file).ok()? == text).then_some(()));
    };
    expect(["UP"; 3]);
    fleet.doors[2].close();
    expect(["UP", "UP", "DOWN"]);
    eventually("gdnsd has no dead entry in its answers", SOON, || {
        let answers: Vec<_> = (0..20).flat_map(|_| server.dig(NAME, "A")).collect();
        let has = |address: &str| answers.iter().any(|answer| answer == address);
        (has(ALL[0]) && has(ALL[1]) && !has(ALL[2])).then_some(())
    });
}

#[test]
fn files_are_written_when_they_change_and_put_back() {
    let dir = Dir::new("files");
    let mut fleet = Fleet::start();
    let [coredns, endpoint] = ["coredns", "endpoint"].map(|name| dir.path().join("there").join(name));
    let settings = format!(
        "[fleet.files]\ncoredns = \"{}\"\ndnsendpoint = \"{}\"",
        coredns.display(),
        endpoint.display()
    );
    let member = fleet.member(&settings);
    let failures = "slotway_publisher_failures_total{publisher=\"coredns\",reason=\"write\"}";
    eventually("a folder that is not there is told", SOON, || (member.number(failures) > 0).then_some(()));
    fs::create_dir(dir.path().join("there")).expect("a writable directory");
    let expect = |file: &std::path::Path, text: &str| {
        eventually(text, SOON, || (fs::read_to_string(file).ok()?.ends_with(text)).then_some(()));
    };
    let weights = format!("{NAME}.\n127.0.0.21 255\n127.0.0.22 255\n127.0.0.23 255\n");
    expect(&coredns, &weights);
    expect(&endpoint, "- \"127.0.0.21\"\n        - \"127.0.0.22\"\n        - \"127.0.0.23\"\n");
    let published = member.published("coredns");
    fleet.doors[0].close();
    expect(&coredns, &format!("{NAME}.\n127.0.0.21 1\n127.0.0.22 255\n127.0.0.23 255\n"));
    expect(&endpoint, "targets:\n        - \"127.0.0.22\"\n        - \"127.0.0.23\"\n");
    eventually("it is counted", SOON, || (member.published("coredns") > published).then_some(()));
    let written = fs::metadata(&coredns).and_then(|of| of.modified()).expect("it is there");
    thread::sleep(Duration::from_secs(3));
    assert_eq!(fs::metadata(&coredns).and_then(|of| of.modified()).ok(), Some(written));
    fs::remove_file(&coredns).expect("it is there");
    expect(&coredns, "127.0.0.22 255\n127.0.0.23 255\n");
    assert_eq!(fs::read_dir(dir.path().join("there")).map(Iterator::count).ok(), Some(2));
}

/// A page with its code, asked for as this host.
fn ask(admin: &str, path: &str, host: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(admin).expect("the admin port");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a code");
    (code, body.to_owned())
}

#[test]
fn weight_and_health_of_an_entry_are_served_over_http() {
    let mut fleet = Fleet::start();
    let member = fleet.member("");
    let ask = |path: &str, host: &str| ask(&member.admin, path, host);
    eventually("all weigh alike", SOON, || {
        ["a", "b", "c"]
            .iter()
            .all(|id| ask(&format!("/dns-weight/{id}"), "x") == (200, "1000\n".to_owned()))
            .then_some(())
    });
    assert_eq!(ask("/healthz/b", "x"), (200, "up\n".to_owned()));
    fleet.doors[1].close();
    eventually("b is down", SOON, || (ask("/healthz/b", "x") == (503, "down\n".to_owned())).then_some(()));
    assert_eq!(ask("/dns-weight/b", "x"), (200, "0\n".to_owned()));
    assert_eq!(ask("/dns-weight?entry=b", "x").1, "0\n");
    assert_eq!(ask("/dns-weight", "127.0.0.22:9090").1, "0\n");
    assert_eq!(ask("/dns-weight", "x\r\nSlotway-Entry: b").1, "0\n", "as a balancer says");
    assert_eq!(ask("/healthz", ALL[0]), (200, "up\n".to_owned()));
    assert_eq!(ask("/healthz", "x").0, 200, "the proxy itself");
    assert_eq!(ask("/healthz/z", "x").0, 404);
    assert_eq!(ask("/dns-weight", "x").0, 404);
    assert_eq!(ask("/dns-weight/z", "x").0, 404);
}

/// What an agent-check is told.
fn check(agent: &str, sends: &str) -> String {
    let mut stream = TcpStream::connect(agent).expect("the agent's port");
    stream.write_all(sends.as_bytes()).expect("open");
    let mut line = String::new();
    stream.read_to_string(&mut line).expect("a line");
    line
}

#[test]
fn haproxy_follows_agent_checks() {
    let mut fleet = Fleet::start();
    let member = fleet.member("");
    eventually("a is up", SOON, || (check(&member.agent, "a\n") == "ready up 100%\n").then_some(()));
    assert_eq!(check(&member.agent, ""), "ready up 100%\n", "the proxy itself");
    assert_eq!(check(&member.agent, "nobody\n"), "down\n");
    assert_eq!(check(&member.agent, &"x".repeat(1_000)), "down\n");
    let Some(program) = program("haproxy") else { return };
    let (dir, front, stats) = (Dir::new("haproxy"), Port::lease(), Port::lease());
    let config = dir.path().join("haproxy.cfg");
    let (agent_port, entry_port) = (member.agent.rsplit(':').next().expect("a port"), fleet.port.number());
    let mut text = format!(
        "defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 10s\n  timeout server 10s\n\
         frontend f\n  bind 127.0.0.1:{}\n  default_backend b\n\
         frontend s\n  mode http\n  bind 127.0.0.1:{}\n  stats enable\n  stats uri /\nbackend b\n",
        front.number(),
        stats.number()
    );
    for (id, address) in ["a", "b", "c"].iter().zip(ALL) {
        let _ = writeln!(
            text,
            "  server {id} {address}:{entry_port} weight 100 agent-check agent-addr 127.0.0.1 \
             agent-port {agent_port} agent-inter 200ms agent-send {id}\\n"
        );
    }
    fs::write(&config, text).expect("a writable directory");
    let log = dir.path().join("log");
    let _haproxy = Process::start(Command::new(program).arg("-f").arg(&config), &log);
    let stats = format!("127.0.0.1:{}", stats.number());
    let state = |id: &str| -> Option<String> {
        TcpStream::connect(&stats).ok()?;
        let (_, page) = ask(&stats, "/;csv", "x");
        let line = page.lines().find(|line| line.starts_with(&format!("b,{id},")))?;
        line.split(',').nth(17).map(str::to_owned)
    };
    let expect = |id: &str, words: &str| {
        let what = format!("{id} is {words}");
        eventually(&what, SOON, || state(id).filter(|state| state.starts_with(words)).map(drop));
    };
    expect("b", "no check");
    fleet.doors[1].close();
    expect("b", "DOWN");
    fleet.doors[1].reopen();
    expect("b", "no check");
}
