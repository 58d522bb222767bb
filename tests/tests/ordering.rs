//! Random pipelines from hundreds of connections over thousands of keys: every reply has to be the asker's
//! own, in the order asked.

use std::env;
use std::io::Write;
use std::thread::spawn;

use fastrand::Rng;
use slotway_tests::argv::frame;
use slotway_tests::cluster::Cluster;
use slotway_tests::proxy::Proxy;
use slotway_tests::raw::Raw;
use slotway_tests::value::Value;

/// Connections; four threads each drive a quarter of them.
const CONNECTIONS: usize = 240;
const THREADS: usize = 4;
/// Keys of each connection: together thousands.
const KEYS: usize = 40;
const ROUNDS: usize = 12;
const LONGEST_PIPELINE: usize = 60;

#[test]
fn every_reply_is_the_askers_own_and_in_order() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let seed =
        env::var("SLOTWAY_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}: replay with SLOTWAY_SEED={seed}");
    let threads = (0..THREADS).map(|thread| {
        let addr = proxy.addr();
        let rng = Rng::with_seed(seed ^ thread as u64);
        spawn(move || drive(&addr, thread, rng))
    });
    let threads: Vec<_> = threads.collect();
    threads.into_iter().for_each(|thread| thread.join().expect("every reply was right"));
}

/// One thread: in every round each connection sends a pipeline, only then replies are read, so that
/// pipelines of many connections are in flight together.
fn drive(addr: &str, thread: usize, mut rng: Rng) {
    let ids = (0..CONNECTIONS).filter(|id| id % THREADS == thread);
    let mut peers: Vec<Peer> = ids.map(|id| Peer::new(addr, id, rng.bool())).collect();
    for _round in 0..ROUNDS {
        peers.iter_mut().for_each(|peer| peer.send(&mut rng));
        rng.shuffle(&mut peers);
        peers.iter_mut().for_each(Peer::check);
    }
}

/// A connection and what it knows of its keys.
struct Peer {
    raw: Raw,
    id: usize,
    values: Vec<Option<String>>,
    nonce: usize,
    expected: Vec<(Vec<String>, Value)>,
}

impl Peer {
    fn new(addr: &str, id: usize, newer: bool) -> Self {
        let raw = Raw::speaking(addr, if newer { 3 } else { 2 });
        Self { raw, id, values: vec![None; KEYS], nonce: 0, expected: Vec::new() }
    }

    fn send(&mut self, rng: &mut Rng) {
        let length = rng.usize(1..=LONGEST_PIPELINE);
        let mut bytes = Vec::new();
        for _ in 0..length {
            let (argv, reply) = self.request(rng);
            bytes.extend(frame(&argv));
            self.expected.push((argv, reply));
        }
        // Cut anywhere: where a read ends must not matter.
        let cut = rng.usize(..bytes.len());
        let mut sender = self.raw.sender();
        sender.write_all(&bytes[..cut]).expect("the proxy reads");
        sender.write_all(&bytes[cut..]).expect("the proxy reads");
    }

    fn check(&mut self) {
        for (argv, expected) in std::mem::take(&mut self.expected) {
            let reply = self.raw.read();
            assert_eq!(reply, expected, "connection {} asked {argv:?}", self.id);
        }
    }

    /// A request and the reply that it has to get, given all that were sent before.
    fn request(&mut self, rng: &mut Rng) -> (Vec<String>, Value) {
        let number = rng.usize(..KEYS);
        let key = self.key(number);
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        match rng.u8(..10) {
            0..3 => {
                let value = self.fresh(rng);
                let argv = words(&["SET", &key, &value]);
                self.values[number] = Some(value);
                (argv, Value::Simple(b"OK".to_vec()))
            }
            3..6 => (words(&["GET", &key]), self.value(number)),
            6 => {
                let nonce = self.fresh(rng);
                (words(&["ECHO", &nonce]), Value::Bulk(nonce.into_bytes()))
            }
            7 => {
                let existed = self.values[number].take().is_some();
                (words(&["DEL", &key]), Value::Int(existed.into()))
            }
            8 => {
                let numbers: Vec<usize> = (0..rng.usize(1..8)).map(|_| rng.usize(..KEYS)).collect();
                let keys = numbers.iter().map(|&number| self.key(number));
                let argv = std::iter::once("MGET".to_owned()).chain(keys).collect();
                (argv, Value::Array(numbers.into_iter().map(|number| self.value(number)).collect()))
            }
            _ => {
                let text = "ERR wrong number of arguments for 'get' command";
                (words(&["GET", &key, "surplus"]), Value::Error(text.into()))
            }
        }
    }

    fn key(&self, number: usize) -> String {
        format!("order:{}:{number}", self.id)
    }

    fn value(&self, number: usize) -> Value {
        self.values[number].as_ref().map_or(Value::Nil, |value| Value::Bulk(value.clone().into_bytes()))
    }

    /// A value that nobody else has; now and then a long one, so that replies span reads.
    fn fresh(&mut self, rng: &mut Rng) -> String {
        self.nonce += 1;
        let padding = if rng.u8(..20) == 0 { rng.usize(..20_000) } else { rng.usize(..40) };
        format!("{}-{}-{}", self.id, self.nonce, "x".repeat(padding))
    }
}
