//! Clients that wait, leave, pipeline and transact, in random interleavings over a cluster. Every value carries
//! its owner's nonce: no reply reaches another client, and each command gets exactly one.

use std::env;
use std::thread::spawn;
use std::time::Duration;

use fastrand::Rng;
use slotway_tests::argv::frame;
use slotway_tests::cluster::Cluster;
use slotway_tests::play::Stage;
use slotway_tests::proxy::Proxy;
use slotway_tests::raw::Raw;
use slotway_tests::value::Value;

/// Connections, driven by so many threads; and how often each takes its turn.
const CONNECTIONS: usize = 96;
const THREADS: usize = 4;
const ROUNDS: usize = 30;
const LONGEST_PIPELINE: usize = 12;

#[test]
fn no_reply_reaches_another_client_and_each_command_gets_one() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let seed =
        env::var("SLOTWAY_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}: replay with SLOTWAY_SEED={seed}");
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let addr = proxy.addr();
            let rng = Rng::with_seed(seed ^ thread as u64);
            spawn(move || drive(&addr, thread, rng))
        })
        .collect();
    let left: usize = threads.into_iter().map(|thread| thread.join().expect("every reply was right")).sum();
    println!("{left} clients left while something was owed to them");
    Stage::cluster(&proxy, &cluster).wait_for_blocked(0);
    slotway_tests::poll::eventually("nothing is leased", Duration::from_secs(10), || {
        (proxy.metric("private_connections") == 0 && proxy.metric("private_waiting") == 0).then_some(())
    });
}

/// One thread: in every round each connection sends a pipeline, then some get what they wait for, some leave,
/// and of the others every reply is read. How many left.
fn drive(addr: &str, thread: usize, mut rng: Rng) -> usize {
    let ids = (0..CONNECTIONS).filter(|id| id % THREADS == thread);
    let mut peers: Vec<Peer> = ids.map(|id| Peer::new(addr, id, 0, rng.bool())).collect();
    let mut pusher = Raw::connect(addr);
    let mut left = 0;
    for round in 1..=ROUNDS {
        peers.iter_mut().for_each(|peer| peer.send(&mut rng));
        rng.shuffle(&mut peers);
        for peer in &mut peers {
            if rng.u8(..5) == 0 {
                // It leaves, waiting or not; another one comes under a name of its own.
                *peer = Peer::new(addr, peer.id, round, rng.bool());
                left += 1;
                continue;
            }
            // What it waits for comes now: in the order of its keys.
            for (key, value) in std::mem::take(&mut peer.awaited) {
                assert!(!pusher.call(&["RPUSH", &key, &value]).is_error());
            }
            peer.check();
        }
    }
    left
}

/// A connection and what it is owed.
struct Peer {
    raw: Raw,
    id: usize,
    life: usize,
    nonce: usize,
    expected: Vec<(String, Value)>,
    /// Keys that it waits for, and what somebody else will push there.
    awaited: Vec<(String, String)>,
}

impl Peer {
    fn new(addr: &str, id: usize, life: usize, newer: bool) -> Self {
        let raw = Raw::speaking(addr, if newer { 3 } else { 2 });
        Self { raw, id, life, nonce: 0, expected: Vec::new(), awaited: Vec::new() }
    }

    fn send(&mut self, rng: &mut Rng) {
        let mut bytes = Vec::new();
        for _ in 0..rng.usize(1..=LONGEST_PIPELINE) {
            let asked = self.request(rng);
            for (argv, reply) in asked {
                bytes.extend(frame(&argv));
                self.expected.push((argv.join(" "), reply));
            }
        }
        let cut = rng.usize(..bytes.len());
        self.raw.send_bytes(&bytes[..cut]);
        self.raw.send_bytes(&bytes[cut..]);
    }

    fn check(&mut self) {
        for (line, expected) in std::mem::take(&mut self.expected) {
            let reply =
                self.raw.try_frame().unwrap_or_else(|error| panic!("{} asked {line}: {error}", self.id));
            assert_eq!(Value::decode(&reply), expected, "connection {} asked {line}", self.id);
        }
        // Exactly one each: nothing is left over in front of this.
        let nonce = self.fresh();
        assert_eq!(self.raw.call(&["ECHO", &nonce]).text(), nonce);
    }

    /// Requests, each with the reply that it has to get.
    fn request(&mut self, rng: &mut Rng) -> Vec<(Vec<String>, Value)> {
        let value = self.fresh();
        // A key of its own for each: any slot, any node.
        let key = format!("key:{value}");
        let ok = || Value::Simple(b"OK".to_vec());
        let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let words = |line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let popped = || Value::Array(vec![bulk(&key), bulk(&value)]);
        match rng.u8(..12) {
            0 | 1 => {
                vec![(words(format!("SET {key} {value}")), ok()), (words(format!("GET {key}")), bulk(&value))]
            }
            2 => vec![(words(format!("ECHO {value}")), bulk(&value))],
            3 => vec![
                (words(format!("RPUSH {key} {value}")), Value::Int(1)),
                (words(format!("BLPOP {key} 0")), popped()),
            ],
            4..7 => {
                self.awaited.push((key.clone(), value.clone()));
                vec![(words(format!("BLPOP {key} 0")), popped())]
            }
            7 => {
                self.awaited.push((key.clone(), value.clone()));
                let other = format!("{{{key}}}none");
                // The element is moved, so it comes back by name.
                vec![
                    (words(format!("BLMOVE {key} {{{key}}}to LEFT RIGHT 0")), bulk(&value)),
                    (words(format!("LPOP {{{key}}}to")), bulk(&value)),
                    (words(format!("BRPOP {other} 0.002")), Value::Nil),
                ]
            }
            8 => vec![(words(format!("BZPOPMIN {key} 0.00{}", rng.u8(1..9))), Value::Nil)],
            9 => vec![
                (words("MULTI".into()), ok()),
                (words(format!("SET {key} {value}")), Value::Simple(b"QUEUED".to_vec())),
                (words(format!("GET {key}")), Value::Simple(b"QUEUED".to_vec())),
                (words("EXEC".into()), Value::Array(vec![ok(), bulk(&value)])),
            ],
            10 => vec![
                (words(format!("WATCH {key}")), ok()),
                (words(format!("GET {key}")), Value::Nil),
                (words("MULTI".into()), ok()),
                (words(format!("RPUSH {key} {value}")), Value::Simple(b"QUEUED".to_vec())),
                (words(format!("BLPOP {key} 0")), Value::Simple(b"QUEUED".to_vec())),
                (words("EXEC".into()), Value::Array(vec![Value::Int(1), popped()])),
            ],
            _ => vec![
                (words(format!("WATCH {key}")), ok()),
                (words(format!("SET {key} {value}")), ok()),
                (words("MULTI".into()), ok()),
                (words(format!("GET {key}")), Value::Simple(b"QUEUED".to_vec())),
                (words("EXEC".into()), Value::Nil),
                (words(format!("GET {key}")), bulk(&value)),
            ],
        }
    }

    fn fresh(&mut self) -> String {
        self.nonce += 1;
        format!("{}-{}-{}", self.id, self.life, self.nonce)
    }
}
