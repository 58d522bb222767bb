//! A process replaces another on the same host: nobody is refused, no reply is lost, and whoever fails to replace leaves
//! the other as it was.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use slotway::handover::taker::Taker;
use slotway_tests::certs::Authority;
use slotway_tests::dir::Dir;
use slotway_tests::installed::{program, python};
use slotway_tests::member::{entries, fleet};
use slotway_tests::page::page;
use slotway_tests::poll::eventually;
use slotway_tests::ports::Port;
use slotway_tests::process::Process;
use slotway_tests::proxy::binary;
use slotway_tests::raw::Raw;
use slotway_tests::server::Server;
use slotway_tests::tls::TlsOptions;

const PATIENCE: Duration = Duration::from_secs(30);

/// One host with processes of the same settings, one after the other.
struct Host {
    server: Server,
    port: Port,
    admin: Port,
    dir: Dir,
}

impl Host {
    fn new() -> Self {
        Self { server: Server::start(), port: Port::lease(), admin: Port::lease(), dir: Dir::new("takeover") }
    }

    fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    fn admin(&self) -> String {
        format!("127.0.0.1:{}", self.admin.number())
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("takeover.sock")
    }

    /// A process that logs to `log`.
    fn start(&self, log: &str, more: &[&str]) -> Process {
        let mut command = Command::new(binary());
        command.args(["--threads", "2", "--listen", &self.addr(), "--admin", &self.admin()]);
        command.args(["--standalone", &format!("redis://{}", self.server.addr())]);
        command.args(["--set", &format!("takeover={}", self.socket().display())]);
        command.args(more).env("RUST_BACKTRACE", "1");
        Process::start(&mut command, &self.dir.path().join(log))
    }

    /// The same, once it serves.
    #[track_caller]
    fn serving(&self, log: &str, more: &[&str]) -> Process {
        let process = self.start(log, more);
        eventually("it serves", PATIENCE, || process.log().contains("can take over").then_some(()));
        eventually("it is ready", PATIENCE, || {
            page(&self.admin(), "/ready").contains("200 OK").then_some(())
        });
        process
    }
}

/// Waits for the end that an operator asked for.
#[track_caller]
fn ends_well(process: &mut Process) {
    let ended = process.wait(PATIENCE);
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "{}", process.log_tail());
}

#[track_caller]
fn end(mut process: Process) {
    process.signal(Signal::INT);
    ends_well(&mut process);
}

/// Clients that connect, count once and go, for ever.
fn newcomers(
    addr: &str,
    stop: &Arc<AtomicBool>,
    counted: &Arc<AtomicU64>,
) -> Vec<thread::JoinHandle<Vec<String>>> {
    let start = |_| {
        let (addr, stop, counted) = (addr.to_owned(), stop.clone(), counted.clone());
        thread::spawn(move || {
            let mut failures = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let reply = Raw::try_connect(&addr).and_then(|mut raw| raw.try_call(&["INCR", "newcomers"]));
                match reply {
                    Ok(reply) if !reply.is_error() => drop(counted.fetch_add(1, Ordering::Relaxed)),
                    Ok(reply) => failures.push(format!("{reply:?}")),
                    Err(error) => failures.push(error.to_string()),
                }
                // TIME_WAIT keeps each port of a client for a minute.
                thread::sleep(Duration::from_millis(2));
            }
            failures
        })
    };
    (0..4).map(start).collect()
}

/// redis-py as it comes, with a pool, counting in threads until a file appears.
const REDIS_PY: &str = r#"
import os, sys, threading, redis
port, stop = int(sys.argv[1]), sys.argv[2]
client = redis.Redis(port=port)
counts, failures = [0] * 8, []
def count(i):
    while not os.path.exists(stop):
        try:
            client.incr("pooled")
            counts[i] += 1
        except Exception as error:
            failures.append(repr(error))
threads = [threading.Thread(target=count, args=(i,)) for i in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
print("counted", sum(counts), "failures", failures[:5], flush=True)
"#;

#[test]
fn replaced_twice_under_load_nobody_is_refused_and_every_count_counts() {
    let Some(python) = python() else { return };
    let host = Host::new();
    let mut first = host.serving("log-1", &[]);
    let (stop, counted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let threads = newcomers(&host.addr(), &stop, &counted);
    let stop_file = host.dir.path().join("stop");
    let script = host.dir.path().join("count.py");
    fs::write(&script, REDIS_PY).expect("a writable directory");
    let mut load = Command::new(python);
    load.arg(&script).arg(host.port.number().to_string()).arg(&stop_file);
    let mut load = Process::start(&mut load, &host.dir.path().join("python"));
    let pooled = || host.server.client().cmd("GET pooled").text().parse::<u64>().unwrap_or(0);
    let goes_on = |least: u64| {
        let (here, there) = (counted.load(Ordering::Relaxed) + least, pooled() + least);
        eventually("the load goes on", PATIENCE, || {
            (counted.load(Ordering::Relaxed) >= here && pooled() >= there).then_some(())
        });
    };
    goes_on(100);
    let mut second = host.start("log-2", &["--takeover"]);
    ends_well(&mut first);
    goes_on(100);
    let third = host.start("log-3", &["--takeover=if-running"]);
    ends_well(&mut second);
    goes_on(100);
    assert!(page(&host.admin(), "/ready").contains("200 OK"), "the admin port is the third's");
    fs::write(&stop_file, "").expect("a writable directory");
    stop.store(true, Ordering::Relaxed);
    let failures: Vec<String> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert!(failures.is_empty(), "{failures:?}\n{}\n{}", first.log_tail(), second.log_tail());
    assert!(load.wait(PATIENCE).is_some_and(|status| status.success()), "{}", load.log_tail());
    let mut server = host.server.client();
    let value = |server: &mut Raw, key: &str| server.cmd(&format!("GET {key}")).text();
    assert_eq!(value(&mut server, "newcomers"), counted.load(Ordering::Relaxed).to_string());
    assert_eq!(load.log().trim(), format!("counted {} failures []", value(&mut server, "pooled")));
    for (new, old) in [(&second, &first), (&third, &second)] {
        assert!(new.log().contains("taking over") && new.log().contains("sockets=2"), "{}", new.log_tail());
        assert!(old.log().contains("handed over"), "{}", old.log_tail());
    }
    assert!(host.socket().exists(), "the third can be asked, too");
    end(third);
    assert!(!host.socket().exists());
}

#[test]
fn whoever_is_connected_or_waits_is_answered_or_told_by_its_connections_end() {
    let host = Host::new();
    let mut first = host.serving("log-1", &[]);
    let (mut idle, mut blocked) = (Raw::connect(&host.addr()), Raw::connect(&host.addr()));
    assert_eq!(idle.cmd("SET a 1").text(), "OK");
    blocked.send(&["BLPOP", "nothing", "0"]);
    let second = host.start("log-2", &["--takeover"]);
    eventually("the second serves", PATIENCE, || second.log().contains("serving clients").then_some(()));
    // There is still time to ask.
    assert_eq!(idle.cmd("GET a").text(), "1");
    assert_eq!(idle.read_to_close(), b"");
    // Who was blocked did not lose an element: nobody took any.
    blocked.read_to_close();
    ends_well(&mut first);
    let mut other = Raw::connect(&host.addr());
    assert_eq!(other.cmd("RPUSH nothing x").int(), 1);
    assert_eq!(other.cmd("LLEN nothing").int(), 1);
    end(second);
}

#[test]
fn a_new_process_that_fails_leaves_the_old_one_serving() {
    let host = Host::new();
    let mut first = host.serving("log-1", &[]);
    let mut client = Raw::connect(&host.addr());
    let mut fails = |log: &str, more: &[&str], code: i32, told: &str| {
        let mut arguments = vec!["--takeover"];
        arguments.extend(more);
        let mut next = host.start(log, &arguments);
        let ended = next.wait(PATIENCE).and_then(|status| status.code());
        assert_eq!(ended, Some(code), "{}", next.log_tail());
        assert!(next.log().contains(told), "{told} is not in {}", next.log_tail());
        assert_eq!(client.cmd("PING").text(), "PONG");
        assert_eq!(Raw::connect(&host.addr()).cmd("SET a 1").text(), "OK");
        assert!(page(&host.admin(), "/ready").contains("200 OK"));
    };
    fails("log-2", &["--max-clients", "0"], 64, "clients.max_clients is 0");
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = holder.local_addr().expect("an address").to_string();
    fails("log-3", &["--listen", &taken], 1, &format!("cannot listen on {taken}"));
    let elsewhere = Port::lease();
    let elsewhere = format!("cluster.standalone=redis://127.0.0.1:{}", elsewhere.number());
    let unready = ["--set", &elsewhere, "--set", "takeover_timeout=1s"];
    fails("log-4", &unready, 1, "not ready within 1s");
    assert!(first.log().contains("not ready within 1s"), "the old one says so, too: {}", first.log_tail());
    // One that is killed while it starts.
    let mut killed = host.start("log-5", &["--takeover", "--set", &elsewhere]);
    eventually("it asked", PATIENCE, || killed.log().contains("taking over").then_some(()));
    killed.kill();
    eventually("the old one sees it", PATIENCE, || first.log().contains("hung up").then_some(()));
    assert_eq!(Raw::connect(&host.addr()).cmd("GET a").text(), "1");
    assert!(first.ended().is_none());
    // And one that is well replaces it all the same.
    let second = host.start("log-6", &["--takeover"]);
    ends_well(&mut first);
    end(second);
}

#[test]
fn whoever_vanishes_after_it_was_given_the_sockets_is_not_waited_for() {
    let host = Host::new();
    let first = host.serving("log-1", &[]);
    let (mut taker, sockets) = Taker::ask(&host.socket()).expect("the sockets");
    assert_eq!(sockets.len(), 2, "{sockets:?}");
    taker.wait_for_turn().expect("the turn");
    // Nobody accepts now, and nobody is refused.
    let mut waits = Raw::connect(&host.addr());
    waits.send(&["SET", "a", "1"]);
    thread::sleep(Duration::from_millis(200));
    drop((taker, sockets));
    assert_eq!(waits.read().text(), "OK");
    assert_eq!(Raw::connect(&host.addr()).cmd("GET a").text(), "1");
    assert!(page(&host.admin(), "/ready").contains("200 OK"));
    eventually("it is told", PATIENCE, || first.log().contains("not handed over").then_some(()));
    end(first);
}

/// New settings while another process is about to take over are this one's, should the other fail.
#[test]
fn a_reload_holds_while_the_sockets_are_given_and_while_nobody_accepts() {
    let host = Host::new();
    let config = host.dir.path().join("slotway.toml");
    let ports =
        [Port::lease(), Port::lease(), Port::lease()].map(|port| format!("127.0.0.1:{}", port.number()));
    let write = |served: &[&String]| {
        host.dir.put("slotway.toml", &format!("[[tenants]]\nname = 'shop'\nlisten = {served:?}\n"));
    };
    let [first, second, third] = &ports;
    write(&[first]);
    let process = host.serving("log-1", &["--config", config.to_str().expect("UTF-8")]);
    let mut client = Raw::connect(first);
    let mut reload = |served: &[&String], generation: u64| {
        write(served);
        process.signal(Signal::HUP);
        eventually("the new settings hold", PATIENCE, || {
            let info = client.cmd("INFO server").text();
            info.contains(&format!("slotway_config_generation:{generation}\r")).then_some(())
        });
    };
    let serves = |addr: &String| Raw::try_connect(addr).and_then(|mut raw| raw.try_call(&["PING"])).is_ok();
    let (mut taker, sockets) = Taker::ask(&host.socket()).expect("the sockets");
    assert_eq!(sockets.len(), 3, "{sockets:?}");
    reload(&[first, second], 2);
    assert!(serves(second));
    taker.wait_for_turn().expect("the turn");
    reload(&[first, third], 3);
    drop((taker, sockets));
    eventually("it is told", PATIENCE, || process.log().contains("not handed over").then_some(()));
    assert!(serves(first) && serves(third) && serves(&host.addr()));
    let ends = |addr: &String| eventually("nobody accepts there", PATIENCE, || (!serves(addr)).then_some(()));
    ends(second);
    // Nobody is left who would accept at what is not in the settings.
    reload(&[first], 4);
    ends(third);
    assert!(serves(first));
    end(process);
}

#[test]
fn every_kind_of_socket_is_handed_over() {
    let Some(dig) = program("dig") else { return };
    let host = Host::new();
    let authority = Authority::new("takeover");
    let issued = authority.server("server", &["localhost"]);
    let (tls, own, entry, agent, dns) =
        (Port::lease(), Port::lease(), Port::lease(), Port::lease(), Port::lease());
    // Where nobody leases: a leased port is taken for UDP.
    let dns = dns.number() - 14_000;
    let [tls, own, agent] = [&tls, &own, &agent].map(|port| format!("127.0.0.1:{}", port.number()));
    let [a, b] = entries(entry.number());
    let settings = fleet(entry.number(), [&a, &b], [""; 2], &host.admin())
        + &format!(
            "[fleet.responder]\nlisten = ['127.0.0.1:{dns}']\n\
             nameservers = [{{ name = 'ns1.redis.test', addresses = ['127.0.0.1'] }}]\n\
             [tls]\nlisten = ['{tls}']\ncertificate = '{}'\nkey = '{}'\n\
             [[tenants]]\nname = 'shop'\nlisten = ['{own}']\n",
            issued.certificate.display(),
            issued.key.display()
        );
    let config = host.dir.path().join("slotway.toml");
    fs::write(&config, settings).expect("a writable directory");
    let agent_check = format!("fleet.agent_check={agent}");
    let config =
        ["--config", config.to_str().expect("UTF-8"), "--set", "leave_delay=0s", "--set", &agent_check];
    let mut first = host.serving("log-1", &config);
    let second = host.start("log-2", &[&config[..], &["--takeover"]].concat());
    ends_well(&mut first);
    // Clients, TLS, the tenant's, two entries, admin, agent-check, DNS over UDP and TCP.
    assert!(second.log().contains("sockets=9"), "{}", second.log_tail());
    for addr in [&host.addr(), &own, &a, &b] {
        assert_eq!(Raw::connect(addr).cmd("PING").text(), "PONG", "{addr}");
    }
    assert_eq!(TlsOptions::new(&authority).connect(&tls).cmd("PING").text(), "PONG");
    for over in ["+notcp", "+tcp"] {
        let mut ask = Command::new(&dig);
        ask.args(["@127.0.0.1", "-p", &dns.to_string(), "+short", over, "redis.test"]);
        let said = ask.output().expect("dig runs");
        assert_eq!(String::from_utf8_lossy(&said.stdout).lines().count(), 2, "{over}: {said:?}");
    }
    std::net::TcpStream::connect(&agent).expect("agent-checks");
    end(second);
}

/// What the process says to these lines.
fn said(socket: &Path, lines: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).expect("somebody to ask");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
    stream.write_all(lines).expect("an open connection");
    let mut answer = String::new();
    // An error is a connection that ends with bytes unread.
    let _ = BufReader::new(stream).read_line(&mut answer);
    answer
}

#[test]
fn strange_words_do_no_harm() {
    let host = Host::new();
    let first = host.serving("log-1", &[]);
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(host.socket()).expect("a socket"));
    assert_eq!(mode & 0o777, 0o600);
    let answer = said(&host.socket(), b"hello 2 1\n");
    assert_eq!(answer, "failed version 2 of the handover is not spoken here, only 1\n");
    let long = [b'x'; 100_000];
    for lines in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"ready\n", b"hello 1\n", b"\xff\xfe\n", &long] {
        assert_eq!(said(&host.socket(), lines), "", "{}", lines[..lines.len().min(20)].escape_ascii());
    }
    assert_eq!(Raw::connect(&host.addr()).cmd("SET a 1").text(), "OK");
    let mut twin = host.start("log-2", &[]);
    assert_eq!(twin.wait(PATIENCE).and_then(|status| status.code()), Some(1));
    assert!(twin.log().contains("start with --takeover to replace it"), "{}", twin.log_tail());
    end(first);
}

#[test]
fn without_a_process_to_replace_it_does_not_start_unless_told_so() {
    let host = Host::new();
    let mut lonely = host.start("log-1", &["--takeover"]);
    assert_eq!(lonely.wait(PATIENCE).and_then(|status| status.code()), Some(1));
    let told = format!("nobody to take over from at {}", host.socket().display());
    assert!(lonely.log().contains(&told), "{}", lonely.log_tail());
    let mut killed = host.serving("log-2", &["--takeover=if-running"]);
    // What a process that was killed leaves behind is nobody.
    killed.kill();
    assert!(host.socket().exists());
    end(host.serving("log-3", &["--takeover=if-running"]));
}
