//! A scripted backend: it shakes hands and tells a topology as a cluster node does; every other request it
//! answers as the test says, or not at all. For faults that no real server can be made to show.

use std::fmt;
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use crate::raw::Raw;
use crate::topology::{Shard, bulk, cluster_shards, cluster_slots, hello};
use crate::value::Value;

/// A request that the handshake does not answer.
#[derive(Clone, Debug)]
pub struct Received {
    /// Which connection brought it, counted from 0 in the order of acceptance.
    pub connection: usize,
    /// How many requests of this name came so far, over all connections, this one included.
    pub nth: usize,
    /// Its arguments, the name first.
    pub argv: Vec<Vec<u8>>,
}

impl Received {
    /// The name in upper case.
    #[must_use]
    pub fn name(&self) -> String {
        self.text(0).to_uppercase()
    }

    /// Argument `index` as text; empty where there is none.
    #[must_use]
    pub fn text(&self, index: usize) -> String {
        self.argv.get(index).map(|arg| String::from_utf8_lossy(arg).into_owned()).unwrap_or_default()
    }
}

/// What the script wants done about a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// Send these bytes.
    Reply(Vec<u8>),
    /// Send these bytes after a while; requests of the same connection wait, as a server's do.
    Late(Duration, Vec<u8>),
    /// Send nothing, go on reading.
    Silence,
    /// Send these bytes (may be none), then close the connection.
    Close(Vec<u8>),
}

impl Action {
    /// Send this text; its CRLF is added.
    #[must_use]
    pub fn line(text: &str) -> Self {
        Self::Reply(format!("{text}\r\n").into_bytes())
    }

    /// Send a bulk string.
    #[must_use]
    pub fn bulk(text: &str) -> Self {
        Self::Reply(bulk(text).into_bytes())
    }
}

/// What a node does about each request.
pub type Script = dyn Fn(&Received) -> Action + Send + Sync;

/// A running scripted backend; its threads end on drop.
pub struct Fake {
    node: Arc<Node>,
    acceptor: Option<JoinHandle<()>>,
}

struct Node {
    addr: String,
    script: Box<Script>,
    ending: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    topology: Vec<Shard>,
    /// The answer to COMMAND, where it is not an empty list.
    commands: Option<Vec<u8>>,
    received: Vec<Received>,
    connections: Vec<TcpStream>,
    /// Close what is accepted at once.
    refusing: bool,
}

impl Fake {
    /// Starts one that owns every slot.
    ///
    /// # Panics
    /// Where no port is free.
    #[must_use]
    pub fn start(script: impl Fn(&Received) -> Action + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("a bound socket").to_string();
        let topology = vec![Shard { addr: addr.clone(), replicas: Vec::new(), slots: (0, 16_383) }];
        let state = Mutex::new(State { topology, ..State::default() });
        let node = Arc::new(Node { addr, script: Box::new(script), ending: AtomicBool::new(false), state });
        let serving = Arc::clone(&node);
        let acceptor = spawn(move || serving.accept_all(&listener));
        Self { node, acceptor: Some(acceptor) }
    }

    /// Starts `scripts.len()` nodes that share the slots evenly and know each other.
    #[must_use]
    pub fn cluster(scripts: Vec<Box<Script>>) -> Vec<Self> {
        let share = 16_384 / scripts.len();
        let last = scripts.len() - 1;
        let fakes: Vec<Self> = scripts.into_iter().map(Self::start).collect();
        let topology = fakes.iter().enumerate().map(|(index, fake)| {
            let end = if index == last { 16_383 } else { (index + 1) * share - 1 };
            let slots = ((index * share) as u16, end as u16);
            Shard { addr: fake.addr(), replicas: Vec::new(), slots }
        });
        let topology: Vec<Shard> = topology.collect();
        fakes.iter().for_each(|fake| fake.tell(topology.clone()));
        fakes
    }

    /// Starts a primary that owns every slot and its replicas, which know each other.
    #[must_use]
    pub fn shard(scripts: Vec<Box<Script>>) -> Vec<Self> {
        let fakes: Vec<Self> = scripts.into_iter().map(Self::start).collect();
        let replicas = fakes.iter().skip(1).map(Self::addr).collect();
        let shard = Shard { addr: fakes[0].addr(), replicas, slots: (0, 16_383) };
        fakes.iter().for_each(|fake| fake.tell(vec![shard.clone()]));
        fakes
    }

    /// `127.0.0.1:port`
    #[must_use]
    pub fn addr(&self) -> String {
        self.node.addr.clone()
    }

    /// From now on tell this topology.
    pub fn tell(&self, topology: Vec<Shard>) {
        self.node.state().topology = topology;
    }

    /// From now on answer COMMAND with this frame; an empty one is no answer.
    pub fn tell_commands(&self, reply: &[u8]) {
        self.node.state().commands = Some(reply.to_vec());
    }

    /// From now on close new connections at once (`true`), or serve them again.
    pub fn refuse_connections(&self, refusing: bool) {
        self.node.state().refusing = refusing;
    }

    /// Closes every open connection.
    pub fn close_connections(&self) {
        for stream in self.node.state().connections.drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// What came so far, without handshakes.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.node.state().received.clone()
    }

    /// How many requests of this name (upper case) came so far.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.node.state().received.iter().filter(|received| received.name() == name).count()
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fake").field("addr", &self.node.addr).finish_non_exhaustive()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.node.ending.store(true, Ordering::SeqCst);
        self.close_connections();
        // Wakes the acceptor, which then sees that it is over.
        drop(TcpStream::connect(&self.node.addr));
        if let Some(acceptor) = self.acceptor.take() {
            // A panic there was printed there.
            let _ = acceptor.join();
        }
    }
}

impl Node {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept_all(self: &Arc<Self>, listener: &TcpListener) {
        for (connection, stream) in listener.incoming().enumerate() {
            if self.ending.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { continue };
            if self.state().refusing {
                continue;
            }
            let Ok(handle) = stream.try_clone() else { continue };
            self.state().connections.push(handle);
            let node = Arc::clone(self);
            spawn(move || node.serve(connection, Raw::over(stream)));
        }
    }

    /// Until the other side or the script closes.
    fn serve(&self, connection: usize, mut client: Raw) {
        let mut out = client.sender();
        let mut protocol = 2;
        while let Ok(frame) = client.try_frame() {
            let Value::Array(items) = Value::decode(&frame) else { break };
            let argv = items.into_iter().map(|item| match item {
                Value::Bulk(bytes) => bytes,
                other => panic!("a backend was sent {other:?}"),
            });
            let argv: Vec<Vec<u8>> = argv.collect();
            let action = match self.handshake(&argv, &mut protocol) {
                Some(reply) => Action::Reply(reply),
                None => (self.script)(&self.record(connection, argv)),
            };
            let goes_on = match action {
                Action::Reply(bytes) => out.write_all(&bytes).is_ok(),
                Action::Late(pause, bytes) => {
                    sleep(pause);
                    out.write_all(&bytes).is_ok()
                }
                Action::Silence => true,
                Action::Close(bytes) => out.write_all(&bytes).is_err(),
            };
            if !goes_on {
                break;
            }
        }
        // The clone in `State` keeps the socket open otherwise.
        let _ = out.shutdown(Shutdown::Both);
    }

    fn record(&self, connection: usize, argv: Vec<Vec<u8>>) -> Received {
        let mut received = Received { connection, nth: 0, argv };
        let mut state = self.state();
        let name = received.name();
        received.nth = 1 + state.received.iter().filter(|earlier| earlier.name() == name).count();
        state.received.push(received.clone());
        received
    }

    /// The answer to what a proxy asks on its own account.
    fn handshake(&self, argv: &[Vec<u8>], protocol: &mut u8) -> Option<Vec<u8>> {
        let word = |index: usize| argv.get(index).map(|arg| arg.to_ascii_uppercase()).unwrap_or_default();
        let ok = || Some(b"+OK\r\n".to_vec());
        match (word(0).as_slice(), word(1).as_slice()) {
            (b"HELLO", version) => {
                *protocol = if version == b"3" { 3 } else { 2 };
                Some(hello(*protocol))
            }
            (b"AUTH" | b"SELECT" | b"CLIENT" | b"READONLY" | b"ASKING", _) => ok(),
            (b"PING", _) => Some(b"+PONG\r\n".to_vec()),
            (b"COMMAND", _) => Some(self.state().commands.clone().unwrap_or_else(|| b"*0\r\n".to_vec())),
            // How its replication is, is the script's to say.
            (b"INFO", b"REPLICATION") => None,
            (b"INFO", _) => Some(bulk("redis_version:7.0.15\r\ncluster_enabled:1\r\n").into_bytes()),
            (b"CLUSTER", b"SLOTS") => Some(cluster_slots(&self.state().topology)),
            (b"CLUSTER", b"SHARDS") => Some(cluster_shards(&self.state().topology, *protocol)),
            (b"CLUSTER", b"INFO") => Some(bulk("cluster_state:ok\r\n").into_bytes()),
            _ => None,
        }
    }
}
