//! Transactions of many clients at once, and what faults may do to them: they never interleave, they run
//! whole and once, or not at all.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use slotway::cluster::slot::Slot;
use slotway_tests::argv::frame;
use slotway_tests::cluster::Cluster;
use slotway_tests::installed::python;
use slotway_tests::poll::eventually;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::server::{Kind, Server};
use slotway_tests::value::Value;

const SOON: Duration = Duration::from_secs(10);

/// Clients that increment a pair of counters in one transaction, and are told whether they are equal.
struct Pairs {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Counted>>,
}

#[derive(Default, Debug)]
struct Counted {
    done: i64,
    /// Answered with an error: it may have run.
    unknown: i64,
    errors: Vec<String>,
    wrong: Vec<String>,
}

impl Pairs {
    /// `clients` threads over the pairs `{tag}0`, `{tag}1`: every second one sends all in one write.
    fn start(addr: &str, clients: usize, tag: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..clients).map(|number| {
            let (stop, addr, tag) = (Arc::clone(&stop), addr.to_owned(), tag.to_owned());
            spawn(move || count(&stop, &mut Raw::connect(&addr), &tag, number))
        });
        Self { clients: clients.collect(), stop }
    }

    fn stop(self) -> Vec<Counted> {
        self.stop.store(true, Ordering::SeqCst);
        self.clients.into_iter().map(|client| client.join().expect("a client")).collect()
    }
}

fn count(stop: &AtomicBool, client: &mut Raw, tag: &str, number: usize) -> Counted {
    let lines = ["MULTI".into(), format!("INCR {{{tag}}}0"), format!("INCR {{{tag}}}1"), "EXEC".into()];
    let mut counted = Counted::default();
    while !stop.load(Ordering::SeqCst) {
        let replies: Vec<Value> = if number.is_multiple_of(2) {
            let words = lines.iter().map(|line| frame(&line.split(' ').collect::<Vec<_>>()));
            client.send_bytes(&words.collect::<Vec<_>>().concat());
            client.read_many(4)
        } else {
            lines.iter().map(|line| client.cmd(line)).collect()
        };
        match &replies[3] {
            Value::Array(pair) if pair.len() == 2 && pair[0] == pair[1] => counted.done += 1,
            Value::Error(_) => {
                counted.unknown += 1;
                counted.errors.push(format!("{replies:?}"));
            }
            _ => counted.wrong.push(format!("{replies:?}")),
        }
    }
    counted
}

/// Both counters are equal, and as many as were acknowledged, or may have run.
#[track_caller]
fn check(proxy: &Proxy, tag: &str, counted: &[Counted]) -> Vec<String> {
    let wrong: Vec<&String> = counted.iter().flat_map(|counted| &counted.wrong).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let done: i64 = counted.iter().map(|counted| counted.done).sum();
    let unknown: i64 = counted.iter().map(|counted| counted.unknown).sum();
    let mut client = proxy.client();
    let both = [0, 1].map(|half| client.cmd(&format!("GET {{{tag}}}{half}")).text().parse::<i64>());
    let [Ok(first), Ok(second)] = both else { panic!("{both:?}") };
    println!("{done} done, {unknown} unknown, counted {first}");
    assert_eq!(first, second, "half a transaction ran");
    assert!((done..=done + unknown).contains(&first), "{first} counted, {done} done, {unknown} unknown");
    assert!(done > 0);
    counted.iter().flat_map(|counted| counted.errors.clone()).collect()
}

#[test]
fn transactions_of_two_clients_never_interleave() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let pairs = Pairs::start(&proxy.addr(), 6, "pair");
    std::thread::sleep(Duration::from_secs(3));
    let errors = check(&proxy, "pair", &pairs.stop());
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn while_its_slot_moves_a_transaction_runs_once_or_is_refused() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let slot = Slot::of(b"pair");
    let home = cluster.first_owner(slot);
    let away = (home + 1) % 3;
    let pairs = Pairs::start(&proxy.addr(), 6, "pair");
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(300));
        cluster.move_slot(slot, home, away);
        std::thread::sleep(Duration::from_millis(300));
        cluster.move_slot(slot, away, home);
    }
    let counted = pairs.stop();
    let errors = check(&proxy, "pair", &counted);
    // A transaction that meets a half-moved slot is the server's to refuse.
    println!("{} refused: {:?}", errors.len(), errors.first());
    assert!(errors.iter().all(|error| !error.contains("may have run")), "{errors:?}");
}

#[test]
fn while_its_shard_fails_over_a_transaction_runs_once_or_is_refused() {
    let cluster = Cluster::with(Kind::usual(), 3, 3);
    let proxy = Proxy::over(&cluster);
    let tag = cluster.key_on(0, "pair");
    let pairs = Pairs::start(&proxy.addr(), 6, &tag);
    for node in [3, 0] {
        std::thread::sleep(Duration::from_millis(500));
        cluster.fail_over_to(node);
    }
    std::thread::sleep(Duration::from_millis(500));
    let errors = check(&proxy, &tag, &pairs.stop());
    println!("{} refused: {:?}", errors.len(), errors.first());
}

#[test]
fn a_client_that_leaves_before_exec_has_asked_for_nothing() {
    let server = Server::start();
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).start();
    for lines in
        [&["MULTI", "SET k 1"][..], &["WATCH k", "MULTI", "SET k 1"], &["WATCH k", "MULTI", "SET k 1", "EXE"]]
    {
        for _ in 0..5 {
            let mut client = proxy.client();
            lines.iter().for_each(|line| client.send_line(line));
            client.read_many(lines.len());
            drop(client);
        }
    }
    // Cut within the bytes of EXEC.
    let mut client = proxy.client();
    client.send_bytes(&[frame(&["MULTI"]), frame(&["SET", "k", "1"]), b"*1\r\n$4\r\nEX".to_vec()].concat());
    client.read_many(2);
    drop(client);
    let mut other = proxy.client();
    assert_eq!(other.cmd("SET after 1").text(), "OK");
    assert_eq!(other.cmd("GET k"), Value::Nil);
    eventually("nothing is held for those who left", SOON, || {
        (proxy.metric("private_connections") == 0 && proxy.metric("pinned_watch") == 0).then_some(())
    });
}

#[test]
fn client_list_shows_transactions_and_watched_keys() {
    let server = Server::start();
    let proxy = Options::standalone(&format!("redis://{}", server.addr())).start();
    let (mut client, mut admin) = (proxy.client(), proxy.client());
    let id = client.cmd("CLIENT ID").int();
    let mut shown = |fields: &[&str]| {
        let text = admin.cmd("CLIENT LIST").text();
        let line = text.lines().find(|line| line.starts_with(&format!("id={id} "))).unwrap_or_default();
        let line = format!("{line} ");
        assert!(fields.iter().all(|field| line.contains(&format!(" {field} "))), "{fields:?} in {line}");
    };
    shown(&["flags=N", "multi=-1", "watch=0", "pin=none"]);
    client.cmd("MULTI");
    shown(&["flags=x", "multi=0", "watch=0", "pin=none"]);
    client.cmd("SET k 1");
    client.cmd("INCR k");
    shown(&["flags=x", "multi=2"]);
    client.cmd("EXEC");
    shown(&["flags=N", "multi=-1", "pin=none"]);
    client.cmd("WATCH a b");
    shown(&["flags=N", "watch=2", "pin=watch"]);
    assert_eq!(proxy.metric("pinned_watch"), 1);
    client.cmd("UNWATCH");
    shown(&["watch=0", "pin=none"]);
    assert_eq!(proxy.metric("pinned_watch"), 0);
}

#[test]
fn redis_py_runs_transactions_and_watch_loops() {
    let Some(python) = python() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let script = root.join("clients/python/transactions.py");
    let output = Command::new(python).arg(script).env("SLOTWAY_ADDR", proxy.addr()).output().expect("Python");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches(": ok").count(), 2, "{said}");
}
