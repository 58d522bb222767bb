//! Many who wait at once: a storm of pushes and pops among clients that are killed at random moments, and
//! thousands who ride through a failover and a slot's move.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use slotway::cluster::slot::Slot;
use slotway_tests::cluster::Cluster;
use slotway_tests::play::blocked_at;
use slotway_tests::poll::try_eventually;
use slotway_tests::proxy::{Options, Proxy};
use slotway_tests::raw::Raw;
use slotway_tests::server::{Kind, Server};
use slotway_tests::storm::Storm;

/// Room for all clients of these tests, in whichever worker they are.
const ROOM: [&str; 2] = ["private.max_connections=9000", "private.max_per_node=9000"];

#[test]
fn of_a_hundred_thousand_elements_none_comes_twice_and_none_is_lost_that_redis_would_not_lose() {
    let seed = env::var("SLOTWAY_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}: replay with SLOTWAY_SEED={seed}");
    let popper = Path::new(env!("CARGO_BIN_EXE_popper"));
    let (plain, backend) = (Server::start(), Server::start());
    let proxy = Options::standalone(&format!("redis://{}", backend.addr())).set(&ROOM).start();
    let addrs = [plain.addr(), proxy.addr()];
    let (mut lost, mut kills) = ([0; 2], [0; 2]);
    // By turns, so that both have the same weather.
    for round in 0..4 {
        let side = round % 2;
        let seed = seed ^ round as u64;
        let storm = Storm { elements: 50_000, mortals: 24, steady: 8, processes: 4, connections: 20, seed };
        let start = Instant::now();
        let outcome = storm.rage(&addrs[side], popper);
        println!("{}: {outcome:?} in {:?}", ["plain", "proxy"][side], start.elapsed());
        assert!(outcome.wrong.is_empty());
        assert_eq!(outcome.duplicates, 0);
        lost[side] += outcome.lost;
        kills[side] += outcome.kills;
    }
    // A killed client loses the one element that was on its wire, with a server as with the proxy. The proxy's
    // wire is two, so that it is on its way for longer, and a busy proxy learns later of a death. A proxy that
    // does not end waits would lose nearly one for each.
    let [beside, through] = [0, 1].map(|side| lost[side] as f64 / kills[side].max(1) as f64);
    println!("lost for each that was killed: {beside:.4} plain, {through:.4} through the proxy");
    assert!(through <= 3.0 * beside + 0.1, "{lost:?} lost of {kills:?} killed");
}

/// As many as can wait at once: five thousand, or what the limit of open files lets the proxy have, which needs
/// two for each, and a third while they go from one node to another.
fn crowd_size() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let size = usize::try_from(limit.saturating_sub(200) / 3).unwrap_or(usize::MAX).min(5_000);
    if size < 5_000 {
        println!("{size} clients instead of 5,000: the limit of open files is {limit}");
    }
    size
}

#[test]
fn thousands_who_wait_ride_through_a_failover() {
    let cluster = Cluster::with(Kind::usual(), 3, 3);
    let proxy = Options::cluster(&cluster.urls()).set(&ROOM).start();
    let mut crowd = Crowd::gather(&proxy, &cluster, &cluster.key_on(0, "crowd"), 0);
    for node in [3, 0] {
        cluster.fail_over_to(node);
        crowd.waits_at(&cluster, node, "after a failover");
        crowd.holds_one_connection_each(&proxy);
    }
    crowd.is_served(&proxy);
}

#[test]
fn thousands_who_wait_ride_through_a_slots_move() {
    let cluster = Cluster::start();
    let proxy = Options::cluster(&cluster.urls()).set(&ROOM).start();
    let (slot, home, away) = place_of_crowd(&cluster);
    let mut crowd = Crowd::gather(&proxy, &cluster, "crowd", home);
    for (from, to) in [(home, away), (away, home)] {
        cluster.move_slot(slot, from, to);
        crowd.waits_at(&cluster, to, "after a slot's move");
        crowd.holds_one_connection_each(&proxy);
    }
    crowd.is_served(&proxy);
}

#[test]
fn without_descriptors_for_both_who_waits_goes_on_with_those_that_nobody_uses_any_more() {
    let cluster = Cluster::start();
    let proxy = Options::cluster(&cluster.urls()).set(&ROOM).start();
    let (slot, home, away) = place_of_crowd(&cluster);
    let mut crowd = Crowd::of(200, &proxy, &cluster, "crowd", home);
    // Nearly all are in use.
    let pid = rustix::process::Pid::from_raw(proxy.process().id() as i32).expect("a process");
    let open = fs::read_dir(format!("/proc/{}/fd", proxy.process().id())).expect("its files").count() as u64;
    let limit = rustix::process::Rlimit { current: Some(open + 50), maximum: Some(open + 50) };
    rustix::process::prlimit(Some(pid), rustix::process::Resource::Nofile, limit).expect("ours");
    cluster.move_slot(slot, home, away);
    let took = crowd.blocked_at(&cluster, away, Instant::now());
    // By themselves idle ones are closed after ten.
    assert!(took < Duration::from_secs(9), "{took:?}");
    crowd.is_served(&proxy);
}

/// The slot of keys with the tag `crowd`, the node that has it, and another one.
fn place_of_crowd(cluster: &Cluster) -> (Slot, usize, usize) {
    let slot = Slot::of(b"crowd");
    let home = cluster.first_owner(slot);
    (slot, home, (home + 1) % 3)
}

/// Clients that wait, each for a key of its own, all in one slot.
struct Crowd {
    clients: Vec<Raw>,
    tag: String,
}

impl Crowd {
    #[track_caller]
    fn gather(proxy: &Proxy, cluster: &Cluster, tag: &str, node: usize) -> Self {
        Self::of(crowd_size(), proxy, cluster, tag, node)
    }

    #[track_caller]
    fn of(size: usize, proxy: &Proxy, cluster: &Cluster, tag: &str, node: usize) -> Self {
        let start = Instant::now();
        let mut clients: Vec<Raw> = (0..size).map(|_| proxy.client()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.send_line(&format!("BLPOP {{{tag}}}{number} 0"));
        }
        let mut crowd = Self { clients, tag: tag.to_owned() };
        let took = crowd.blocked_at(cluster, node, start);
        println!("{} wait after {took:?}", crowd.clients.len());
        crowd
    }

    /// How long it took, counted from `start`, until all were blocked at `node`.
    #[track_caller]
    fn blocked_at(&mut self, cluster: &Cluster, node: usize, start: Instant) -> Duration {
        let addr = cluster.node(node).addr();
        let mut last = 0;
        let reached = try_eventually(Duration::from_secs(30), || {
            last = blocked_at(&addr);
            (last == self.clients.len()).then(|| start.elapsed())
        });
        reached.unwrap_or_else(|| {
            let told = self.told();
            panic!("{last} of {} are blocked at {addr}; told: {told:?}", self.clients.len())
        })
    }

    /// What clients were told by now, and how many each.
    fn told(&mut self) -> BTreeMap<String, usize> {
        let mut told = BTreeMap::new();
        for client in &mut self.clients {
            if let Some(frame) = client.waiting_frame() {
                *told.entry(frame.escape_ascii().to_string()).or_default() += 1;
            }
        }
        told
    }

    /// All wait again at `node`, soon after it got their slot, and were told nothing.
    #[track_caller]
    fn waits_at(&mut self, cluster: &Cluster, node: usize, when: &str) {
        let took = self.blocked_at(cluster, node, Instant::now());
        println!("all {} blocked again {took:?} {when}", self.clients.len());
        // 1.5 s is what is asked of a quiet machine; the servers themselves look after each blocked client
        // once a second, and here everything shares two cores.
        assert!(took < Duration::from_secs(5), "{took:?} {when}");
        let told = self.told();
        assert!(told.is_empty(), "{when}: {told:?}");
    }

    /// None keeps one to where it waited before, nor one that was opened in vain: it may wait for ever.
    #[track_caller]
    fn holds_one_connection_each(&self, proxy: &Proxy) {
        assert_eq!(proxy.metric("private_connections"), self.clients.len() as u64);
    }

    #[track_caller]
    fn is_served(&mut self, proxy: &Proxy) {
        let mut pusher = proxy.client();
        for number in 0..self.clients.len() {
            pusher.send_line(&format!("RPUSH {{{}}}{number} {number}", self.tag));
        }
        for (number, client) in self.clients.iter_mut().enumerate() {
            client.set_patience(Duration::from_secs(20));
            assert_eq!(client.read().items()[1].text(), number.to_string());
        }
        assert!(pusher.read_many(self.clients.len()).iter().all(|reply| reply.text() == "1"));
    }
}
