//! Discovery against real servers: a cluster of three nodes, its changes, its failures.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "starts servers and talks to them")]
#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{env, fs, process};

use slotway::backend::dial::Dialer;
use slotway::cluster::discovery::Discovery;
use slotway::cluster::published::Topology;
use slotway::cluster::slot::Slot;
use slotway::cluster::slot_map::{Endpoint, Generation, SlotMap};
use slotway::command::table::Table;
use slotway::config::settings::{
    BackendKind, ClusterSettings, CrossSlot, CrossSlotTransactions, DnsSettings, ReadFrom, Secret,
};
use slotway::dns::resolver::Resolver;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_found_from_any_seed_and_followed() {
    if !have_server() {
        return println!("SKIPPED: redis-server is not in PATH");
    }
    let mut nodes = form_cluster(3, &[]).await;
    let dead = endpoint("127.0.0.1", free_port());
    for host in ["127.0.0.1", "localhost"] {
        let discovery = discover(cluster(vec![dead.clone(), endpoint(host, nodes[1].port)]));
        let map = first_map(discovery.topology()).await;
        assert!(map.is_complete());
        // The nodes tell their addresses, whatever the seed was called.
        let ports: Vec<_> = map.primaries().iter().map(|node| node.endpoint.to_string()).collect();
        let expected: Vec<_> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        assert_eq!(ports, expected, "in the order of their slots");
        assert_eq!(discovery.topology().server().name.as_ref(), "redis");
    }

    let seeds = nodes.iter().map(|node| endpoint("127.0.0.1", node.port)).collect();
    let discovery = discover(cluster(seeds));
    let topology = discovery.topology();
    first_map(topology).await;
    let slot = Slot::new(0).unwrap();
    assert_eq!(owner_port(&topology.slot_map(), slot), nodes[0].port);
    move_slot(slot, &nodes[0], &nodes[2], &nodes);
    refresh_until(topology, |map| owner_port(map, slot) == nodes[2].port).await;

    // Without its first seed and a third of its slots it goes on, and sees what the others do.
    let lost = nodes.remove(0);
    let lost_port = lost.port;
    drop(lost);
    let slot = Slot::new(6000).unwrap();
    move_slot(slot, &nodes[0], &nodes[1], &nodes);
    refresh_until(topology, |map| owner_port(map, slot) == nodes[1].port).await;
    assert_eq!(owner_port(&topology.slot_map(), Slot::new(1).unwrap()), lost_port, "nobody took over");

    // With nobody left the last map stays.
    let generation = topology.slot_map().generation();
    nodes.clear();
    for _ in 0..20 {
        topology.request_refresh();
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(topology.slot_map().generation(), generation);
    assert!(topology.is_ready());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_password_opens_and_another_does_not() {
    if !have_server() {
        return println!("SKIPPED: redis-server is not in PATH");
    }
    let nodes = form_cluster(1, &["--requirepass", "right"]).await;
    let with = |password: &str| ClusterSettings {
        password: Some(Secret::new(password.into())),
        ..cluster(vec![endpoint("localhost", nodes[0].port)])
    };
    let (right, wrong) = (discover(with("right")), discover(with("wrong")));
    // Alone, the node does not know its own address: it is where it was asked.
    let map = first_map(right.topology()).await;
    assert_eq!(map.primaries()[0].endpoint, endpoint("localhost", nodes[0].port));
    assert!(!wrong.topology().is_ready());
    // Told a better one it asks at once, however often it has failed.
    wrong.follow(&with("right"));
    assert!(first_map(wrong.topology()).await.is_complete());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_seeds_are_asked_from_then_on() {
    if !have_server() {
        return println!("SKIPPED: redis-server is not in PATH");
    }
    let nodes = form_cluster(1, &[]).await;
    let discovery = discover(cluster(vec![endpoint("127.0.0.1", free_port())]));
    sleep(Duration::from_millis(100)).await;
    assert!(!discovery.topology().is_ready(), "nobody is there");
    discovery.follow(&cluster(vec![endpoint("127.0.0.1", nodes[0].port)]));
    assert!(first_map(discovery.topology()).await.is_complete());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_formed_later_is_found_then() {
    if !have_server() {
        return println!("SKIPPED: redis-server is not in PATH");
    }
    let node = Node::start(&["--cluster-enabled", "yes"]).await;
    let discovery = discover(cluster(vec![endpoint("127.0.0.1", node.port)]));
    sleep(Duration::from_millis(100)).await;
    assert!(!discovery.topology().is_ready(), "no node serves a slot");
    node.ask("CLUSTER ADDSLOTSRANGE 0 16383");
    assert!(first_map(discovery.topology()).await.is_complete());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_without_a_cluster_have_a_map_at_once_and_an_identity_later() {
    if !have_server() {
        return println!("SKIPPED: redis-server is not in PATH");
    }
    let node = Node::start(&[]).await;
    let endpoints = vec![endpoint("127.0.0.1", node.port), endpoint("127.0.0.1", free_port())];
    let backend = BackendKind::Shards { endpoints, databases: 16 };
    let discovery = discover(ClusterSettings { backend, ..cluster(Vec::new()) });
    let topology = discovery.topology();
    assert!(topology.is_ready());
    assert_eq!(topology.slot_map().primaries().len(), 2);
    assert!(topology.slot_map().is_complete());
    within(async {
        while topology.server().version.is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(topology.server().name.as_ref(), "redis");
}

fn discover(settings: ClusterSettings) -> Discovery {
    let dns = DnsSettings {
        servers: Vec::new(),
        min_ttl: Duration::from_secs(1),
        max_ttl: Duration::from_secs(60),
        timeout: Duration::from_secs(5),
    };
    let resolver = Resolver::new(&dns, Handle::current()).unwrap();
    let commands = Arc::new(Table::builtin());
    Discovery::start(&settings, commands, resolver, Dialer::default(), &Handle::current())
}

fn cluster(seeds: Vec<Endpoint>) -> ClusterSettings {
    ClusterSettings {
        name: "default".to_owned(),
        backend: BackendKind::Cluster { seeds },
        user: None,
        password: None,
        tls: None,
        connect_timeout: Duration::from_secs(1),
        command_timeout: Duration::from_secs(5),
        refresh_interval: Duration::from_secs(60),
        refresh_min_interval: Duration::from_millis(20),
        reconnect_backoff: (Duration::from_millis(20), Duration::from_millis(200)),
        connections_per_node: 1,
        backend_high_watermark: 1 << 20,
        cross_slot: CrossSlot::BestEffort,
        cross_slot_memory: 1 << 20,
        cross_slot_transactions: CrossSlotTransactions::PerShard,
        script_cache: 0,
        read_from: ReadFrom::Primary,
        max_replica_lag: None,
    }
}

async fn first_map(topology: &Topology) -> Arc<SlotMap> {
    within(topology.wait_newer(Generation(0))).await
}

/// Asks for refreshes, as redirected commands do, until the map is as `expected`.
async fn refresh_until(topology: &Topology, expected: impl Fn(&SlotMap) -> bool) {
    within(async {
        while !expected(&topology.slot_map()) {
            topology.request_refresh();
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("did not come to pass")
}

fn owner_port(map: &SlotMap, slot: Slot) -> u16 {
    map.nodes()[usize::from(map.owner(slot).unwrap().0)].endpoint.port
}

fn endpoint(host: &str, port: u16) -> Endpoint {
    Endpoint { host: host.into(), port }
}

/// A cluster of `count` primaries that share the slots in the order of the vector.
async fn form_cluster(count: usize, more: &[&str]) -> Vec<Node> {
    let mut nodes = Vec::new();
    for _ in 0..count {
        let args = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
        nodes.push(Node::start(&[&args, more].concat()).await);
    }
    for (index, node) in nodes.iter().enumerate() {
        let cut = |index: usize| index * 16_384 / count;
        node.ask(&format!("CLUSTER ADDSLOTSRANGE {} {}", cut(index), cut(index + 1) - 1));
        let (first, bus) = (nodes[0].port, nodes[0].bus_port);
        if index > 0 {
            node.ask(&format!("CLUSTER MEET 127.0.0.1 {first} {bus}"));
        }
    }
    within(async {
        let whole = format!("cluster_known_nodes:{count}\r\n");
        let formed = |node: &Node| {
            let info = node.ask("CLUSTER INFO");
            info.contains("cluster_state:ok") && info.contains(&whole)
        };
        while !nodes.iter().all(formed) {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    nodes
}

fn move_slot(slot: Slot, from: &Node, to: &Node, nodes: &[Node]) {
    let (from_id, to_id) = (from.ask("CLUSTER MYID"), to.ask("CLUSTER MYID"));
    to.ask(&format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}"));
    from.ask(&format!("CLUSTER SETSLOT {slot} MIGRATING {to_id}"));
    to.ask(&format!("CLUSTER SETSLOT {slot} NODE {to_id}"));
    for node in nodes {
        node.ask(&format!("CLUSTER SETSLOT {slot} NODE {to_id}"));
    }
}

/// A server of this test's own; dropping it ends it.
struct Node {
    port: u16,
    bus_port: u16,
    password: Option<String>,
    directory: PathBuf,
    child: Child,
}

impl Node {
    async fn start(args: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = env::temp_dir().join(format!("slotway-discovery-{}-{number}", process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (port, bus_port) = (free_port(), free_port());
        let password = args.iter().skip_while(|arg| **arg != "--requirepass").nth(1);
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &port.to_string(), "--cluster-port", &bus_port.to_string()])
            .args(args)
            .current_dir(&directory)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let node = Self { port, bus_port, password: password.map(|it| it.to_string()), directory, child };
        within(async {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        node
    }

    /// The text of the reply to one command.
    fn ask(&self, command: &str) -> String {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut reader = BufReader::new(stream);
        if let Some(password) = &self.password {
            assert_eq!(exchange(&mut reader, &format!("AUTH {password}")), "OK");
        }
        exchange(&mut reader, command)
    }
}

fn exchange(stream: &mut BufReader<TcpStream>, command: &str) -> String {
    stream.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let line = line.trim_end();
    assert!(!line.starts_with('-'), "{command}: {line}");
    let Some(len) = line.strip_prefix('$') else { return line[1..].to_owned() };
    let mut text = vec![0; len.parse::<usize>().unwrap() + 2];
    stream.read_exact(&mut text).unwrap();
    text.truncate(text.len() - 2);
    String::from_utf8(text).unwrap()
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn have_server() -> bool {
    Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok()
}
