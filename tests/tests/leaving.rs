//! The end that SIGTERM asks for, step by step, and what a service manager hears and gives.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use slotway_tests::dir::Dir;
use slotway_tests::fake::{Action, Fake};
use slotway_tests::installed::python;
use slotway_tests::member::Member;
use slotway_tests::page::page;
use slotway_tests::poll::eventually;
use slotway_tests::ports::Port;
use slotway_tests::process::Process;
use slotway_tests::proxy::{Options, binary};
use slotway_tests::raw::Raw;
use slotway_tests::server::Server;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn it_says_that_it_leaves_serves_on_and_then_ends() {
    let (server, admin) = (Server::start(), Port::lease());
    let admin = format!("127.0.0.1:{}", admin.number());
    let options = Options::standalone(&format!("redis://{}", server.addr())).flag("--admin", &admin);
    let options = options.set(&["leave_delay=3s", "grace_period=1s"]);
    let mut proxy = options.start();
    let mut old = proxy.client();
    let mut movable = Raw::speaking(&proxy.addr(), 3);
    assert_eq!(movable.cmd("CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type none").text(), "OK");
    let (mut blocked, mut listens) = (proxy.client(), proxy.client());
    blocked.send(&["BLPOP", "nothing", "0"]);
    assert_eq!(listens.cmd("SUBSCRIBE news").items()[0].text(), "subscribe");
    assert!(page(&admin, "/ready").contains("200 OK"));
    proxy.ask_to_end();
    eventually("/ready turns", PATIENCE, || page(&admin, "/ready").contains("503 Service").then_some(()));
    // Balancers have not seen it yet: whoever comes is served, and so is whoever is there.
    let mut newcomer = proxy.client();
    assert_eq!(newcomer.cmd("SET a 1").text(), "OK");
    assert_eq!(old.cmd("GET a").text(), "1");
    let push = movable.read();
    assert_eq!((push.items()[0].text(), push.items()[2].int()), ("MOVING".to_owned(), 3));
    assert_eq!(server.client().cmd("PUBLISH news hello").int(), 1);
    assert_eq!(listens.read().items()[2].text(), "hello");
    assert!(page(&admin, "/health").contains("200 OK"), "it lives");
    for client in [&mut old, &mut newcomer, &mut movable, &mut listens] {
        assert_eq!(client.read_to_close(), b"");
    }
    let end = blocked.read_to_close();
    assert!(end.is_empty() || end.starts_with(b"-"), "{}", end.escape_ascii());
    assert_eq!(proxy.wait(PATIENCE).code(), Some(0));
    let log = proxy.process().log();
    let places = ["leaving", "draining", "ended"].map(|word| log.find(word));
    assert!(places.is_sorted() && places[0].is_some(), "{log}");
}

#[test]
fn the_fleet_is_told() {
    let (server, port) = (Server::start(), Port::lease());
    let options = Options::standalone(&format!("redis://{}", server.addr())).set(&["leave_delay=1h"]);
    let mut member = Member::start(options, port.number());
    let reports = || server.client().cmd("HVALS __slotway:{redis.test}:entries").items().to_vec();
    let drains =
        || Some(reports()).filter(|all| all.len() == 1)?[0].text().split(' ').nth(2).map(str::to_owned);
    eventually("a report", PATIENCE, || (drains().as_deref() == Some("0")).then_some(()));
    member.proxy.ask_to_end();
    eventually("the report says so", PATIENCE, || (drains().as_deref() == Some("1")).then_some(()));
    // It goes on to report: balancers still send clients.
    assert_eq!(member.proxy.client().cmd("PING").text(), "PONG");
    member.proxy.ask_to_end();
    assert_eq!(member.proxy.wait(PATIENCE).code(), Some(0));
}

#[test]
fn each_further_signal_is_a_hurry() {
    let fake = Fake::start(|request| match request.name().as_str() {
        "LPOP" => Action::Silence,
        _ => Action::line("+OK"),
    });
    let options = Options::cluster(&[format!("redis://{}", fake.addr())]).eager();
    let options = options.set(&["leave_delay=1h", "grace_period=1h", "cluster.command_timeout=1h"]);
    let mut proxy = options.start();
    let mut client = proxy.client();
    client.send_line("LPOP l");
    eventually("the request is in flight", PATIENCE, || (fake.count("LPOP") == 1).then_some(()));
    for told in ["leaving", "draining", "ending at once"] {
        assert!(!proxy.process().log().contains(told));
        proxy.ask_to_end();
        eventually(told, PATIENCE, || proxy.process().log().contains(told).then_some(()));
    }
    assert_eq!(proxy.wait(PATIENCE).code(), Some(0));
}

#[test]
fn sigint_does_not_wait_for_balancers() {
    let server = Server::start();
    let options = Options::standalone(&format!("redis://{}", server.addr()));
    let mut proxy = options.set(&["leave_delay=1h"]).start();
    let mut client = proxy.client();
    assert_eq!(client.cmd("PING").text(), "PONG");
    proxy.process().signal(Signal::INT);
    assert_eq!(client.read_to_close(), b"");
    assert_eq!(proxy.wait(PATIENCE).code(), Some(0));
}

/// Binds as systemd would, waits for a file, and becomes the program.
const ACTIVATOR: &str = r#"
import os, socket, sys, time
go, addresses, program = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]
held = []
for address in addresses:
    host, port = address.rsplit(":", 1)
    held.append(socket.create_server((host, int(port)), backlog=16))
while not os.path.exists(go):
    time.sleep(0.01)
copies = [os.dup(one.fileno()) for one in held]
copies = [os.dup2(copy, 100 + i) for i, copy in enumerate(copies)]
for i, copy in enumerate(copies):
    os.dup2(copy, 3 + i, inheritable=True)
os.environ.update(LISTEN_FDS=str(len(held)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=":".join("x" * len(held)))
os.execv(program[0], program)
"#;

#[test]
fn sockets_that_the_service_manager_bound_are_served() {
    let Some(python) = python() else { return };
    let (server, dir) = (Server::start(), Dir::new("activated"));
    let (port, admin, spare) = (Port::lease(), Port::lease(), Port::lease());
    let [addr, admin, spare] = [&port, &admin, &spare].map(|port| format!("127.0.0.1:{}", port.number()));
    let (script, go) = (dir.path().join("activate.py"), dir.path().join("go"));
    fs::write(&script, ACTIVATOR).expect("a writable directory");
    let mut command = Command::new(python);
    command.arg(&script).arg(&go).arg([&*addr, &*admin, &*spare].join(",")).arg(binary());
    command.args([
        "--listen",
        &addr,
        "--admin",
        &admin,
        "--standalone",
        &format!("redis://{}", server.addr()),
    ]);
    let mut process = Process::start(&mut command, &dir.path().join("log"));
    // Who comes before there is a process waits.
    let mut early = eventually("the ports are bound", PATIENCE, || Raw::try_connect(&addr).ok());
    early.send(&["SET", "a", "1"]);
    fs::write(&go, "").expect("a writable directory");
    assert_eq!(early.read().text(), "OK");
    assert_eq!(Raw::connect(&addr).cmd("GET a").text(), "1");
    assert!(page(&admin, "/ready").contains("200 OK"));
    let log = process.log();
    assert!(log.contains("is not in the settings") && log.contains(&spare), "{log}");
    process.signal(Signal::TERM);
    assert_eq!(process.wait(PATIENCE).and_then(|status| status.code()), Some(0), "{}", process.log_tail());
}

#[test]
fn the_service_manager_hears_how_it_is() {
    let (server, dir, port) = (Server::start(), Dir::new("notify"), Port::lease());
    let (socket, config) = (dir.path().join("notify"), dir.path().join("slotway.toml"));
    let manager = UnixDatagram::bind(&socket).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
    let hear = || {
        let mut bytes = [0; 4_096];
        let read = manager.recv(&mut bytes).expect("a word in time");
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    };
    // What comes between: it lives.
    let hear_other = || std::iter::repeat_with(hear).find(|words| words != "WATCHDOG=1").expect("no end");
    let settings = format!(
        "listen = ['127.0.0.1:{}']\nreload = 'signal'\ncluster.standalone = 'redis://{}'\n",
        port.number(),
        server.addr()
    );
    fs::write(&config, &settings).expect("a writable directory");
    let mut command = Command::new(binary());
    command.arg("--config").arg(&config).env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "200000");
    let mut process = Process::start(&mut command, &dir.path().join("log"));
    assert_eq!(hear_other(), "READY=1\nSTATUS=serving at 1 ports");
    assert_eq!(Raw::connect(&format!("127.0.0.1:{}", port.number())).cmd("PING").text(), "PONG");
    for _ in 0..3 {
        assert_eq!(hear(), "WATCHDOG=1");
    }
    let reloads =
        [("clients.max_clients = 5\n", "were read again"), ("clients.max_clients = 0\n", "not valid")];
    for (more, told) in reloads {
        fs::write(&config, settings.clone() + more).expect("a writable directory");
        process.signal(Signal::HUP);
        let began = hear_other();
        let clock = began.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").map(str::parse::<u64>);
        assert!(matches!(clock, Some(Ok(1..))), "{began}");
        let became = hear_other();
        assert!(became.starts_with("READY=1\nSTATUS=") && became.contains(told), "{became}");
    }
    process.signal(Signal::TERM);
    assert_eq!(hear_other(), "STOPPING=1\nSTATUS=draining");
    assert_eq!(process.wait(PATIENCE).and_then(|status| status.code()), Some(0), "{}", process.log_tail());
}

#[test]
fn its_health_is_asked_for_by_the_binary_itself() {
    let (server, admin) = (Server::start(), Port::lease());
    let admin = format!("127.0.0.1:{}", admin.number());
    let health = |more: &[&str]| {
        let mut command = Command::new(binary());
        command.args(["health", "--admin", &admin]).args(more).output().expect("the binary runs")
    };
    let nobody = health(&[]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("does not answer"), "{nobody:?}");
    let options = Options::standalone(&format!("redis://{}", server.addr())).flag("--admin", &admin);
    let proxy = options.set(&["leave_delay=1h"]).start();
    assert_eq!((health(&[]).status.code(), health(&["--ready"]).status.code()), (Some(0), Some(0)));
    proxy.ask_to_end();
    eventually("it leaves", PATIENCE, || (health(&["--ready"]).status.code() == Some(1)).then_some(()));
    assert_eq!(health(&[]).status.code(), Some(0), "it lives all the same");
    assert_eq!(String::from_utf8_lossy(&health(&["--ready"]).stdout).trim(), "draining");
}
