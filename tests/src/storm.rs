//! A storm of pushes and pops with clients that are killed at random moments, and the book of every element.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use fastrand::Rng;

use crate::argv::frame;
use crate::raw::Raw;
use crate::value::Value;

/// How large the storm is, and what random numbers decide it.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// Elements pushed.
    pub elements: usize,
    /// Clients that are killed again and again.
    pub mortals: usize,
    /// Clients that live on, so that something is always popped.
    pub steady: usize,
    /// Processes, one after the other, that are killed by SIGKILL; and connections of each.
    pub processes: usize,
    /// Connections of each process.
    pub connections: usize,
    /// Of the random numbers.
    pub seed: u64,
}

/// What became of the elements.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Told to a client that lived to read it.
    pub delivered: usize,
    /// Told to more than one: has to be 0.
    pub duplicates: usize,
    /// Neither told nor left in the list.
    pub lost: usize,
    /// Clients that were killed.
    pub kills: usize,
    /// Error replies, and what else must not be.
    pub wrong: Vec<String>,
}

/// What all threads of a storm share.
struct Sky {
    addr: String,
    over: AtomicBool,
    kills: AtomicUsize,
    delivered: Mutex<Vec<String>>,
    wrong: Mutex<Vec<String>>,
}

/// The list that all push to and pop from.
const KEY: &str = "storm";

impl Storm {
    /// Lets it rage at `addr`; `popper` is the binary of that name. The list is empty before and after.
    ///
    /// # Panics
    /// Where a process or a connection cannot be had.
    #[must_use]
    pub fn rage(self, addr: &str, popper: &Path) -> Outcome {
        let sky = Arc::new(Sky {
            addr: addr.to_owned(),
            over: AtomicBool::new(false),
            kills: AtomicUsize::new(0),
            delivered: Mutex::default(),
            wrong: Mutex::default(),
        });
        let mut rng = Rng::with_seed(self.seed);
        let start = |work: fn(&Sky, Rng), rng: &mut Rng| {
            let (sky, rng) = (Arc::clone(&sky), Rng::with_seed(rng.u64(..)));
            spawn(move || work(&sky, rng))
        };
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        threads.extend((0..self.mortals).map(|_| start(die_and_come_back, &mut rng)));
        threads.extend((0..self.steady).map(|_| start(pop_on, &mut rng)));
        let processes = {
            let (sky, popper, rng) = (Arc::clone(&sky), popper.to_owned(), Rng::with_seed(rng.u64(..)));
            spawn(move || kill_processes(&sky, &popper, self, rng))
        };
        self.push(&sky, &mut rng);
        // What is left is popped by those who live on; then there is nothing more.
        let mut client = Raw::connect(addr);
        let _ = crate::poll::try_eventually(Duration::from_secs(20), || {
            (client.cmd(&format!("LLEN {KEY}")) == Value::Int(0)).then_some(())
        });
        sky.over.store(true, Ordering::SeqCst);
        processes.join().expect("the processes' thread");
        threads.into_iter().for_each(|thread| thread.join().expect("a client's thread"));
        self.book(&sky, &mut client)
    }

    /// Pushes all, in pipelines of every length, with pauses in which the list runs empty.
    fn push(&self, sky: &Sky, rng: &mut Rng) {
        let mut client = Raw::connect(&sky.addr);
        let mut next = 0;
        while next < self.elements {
            let last = (next + rng.usize(1..200)).min(self.elements);
            let requests = (next..last).map(|number| frame(&["RPUSH", KEY, &format!("e{number}")]));
            client.send_bytes(&requests.collect::<Vec<_>>().concat());
            for reply in client.read_many(last - next) {
                if reply.is_error() {
                    sky.note(format!("RPUSH: {reply:?}"));
                }
            }
            next = last;
            if rng.u8(..4) == 0 {
                sleep(Duration::from_micros(rng.u64(..4_000)));
            }
        }
    }

    fn book(&self, sky: &Sky, client: &mut Raw) -> Outcome {
        let delivered = std::mem::take(&mut *sky.delivered.lock().unwrap_or_else(PoisonError::into_inner));
        let wrong = std::mem::take(&mut *sky.wrong.lock().unwrap_or_else(PoisonError::into_inner));
        let left = client.cmd(&format!("LRANGE {KEY} 0 -1"));
        client.cmd(&format!("DEL {KEY}"));
        let mut seen: HashSet<String> = left.items().iter().map(Value::text).collect();
        let mut duplicates = left.items().len() - seen.len();
        let count = delivered.len();
        for element in delivered {
            duplicates += usize::from(!seen.insert(element));
        }
        Outcome {
            delivered: count,
            duplicates,
            lost: self.elements.saturating_sub(seen.len()),
            kills: sky.kills.load(Ordering::Relaxed),
            wrong,
        }
    }
}

impl Sky {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn note(&self, what: String) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    fn deliver(&self, reply: &Value) {
        match reply {
            Value::Array(popped) if popped.len() == 2 && popped[0].text() == KEY => {
                self.delivered.lock().unwrap_or_else(PoisonError::into_inner).push(popped[1].text());
            }
            Value::Nil => (),
            other => self.note(format!("{other:?}")),
        }
    }
}

/// Connects, waits, and is gone after a random while: closed, or reset with bytes unread.
fn die_and_come_back(sky: &Sky, mut rng: Rng) {
    while !sky.is_over() {
        let mut client = Raw::connect(&sky.addr);
        for _ in 0..rng.usize(1..20) {
            client.send_line(&format!("BLPOP {KEY} 0"));
            client.set_patience(Duration::from_micros(rng.u64(1..8_000)));
            match client.try_frame() {
                Ok(frame) => sky.deliver(&Value::decode(&frame)),
                // Nothing came in its time: it dies waiting.
                Err(_) => break,
            }
        }
        sky.kills.fetch_add(1, Ordering::Relaxed);
    }
}

/// Pops to the end.
fn pop_on(sky: &Sky, _rng: Rng) {
    let mut client = Raw::connect(&sky.addr);
    while !sky.is_over() {
        let reply = client.cmd(&format!("BLPOP {KEY} 0.2"));
        sky.deliver(&reply);
    }
}

/// Starts a process that pops, kills it after a while, and again.
fn kill_processes(sky: &Arc<Sky>, popper: &Path, storm: Storm, mut rng: Rng) {
    for _ in 0..storm.processes {
        if sky.is_over() {
            return;
        }
        let mut command = Command::new(popper);
        command.args([&sky.addr, KEY, &storm.connections.to_string()]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the popper");
        let out = child.stdout.take().expect("a pipe");
        let reader = {
            let sky = Arc::clone(sky);
            spawn(move || read_lines(&sky, out))
        };
        sleep(Duration::from_millis(rng.u64(200..900)));
        kill(child);
        sky.kills.fetch_add(storm.connections, Ordering::Relaxed);
        reader.join().expect("the reader");
    }
}

fn kill(mut child: Child) {
    // SIGKILL; an error means that it has ended already.
    let _ = child.kill();
    let _ = child.wait();
}

fn read_lines(sky: &Sky, out: ChildStdout) {
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        sky.delivered.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}
