//! The closed loop: each client sends a batch of requests, waits for all its replies, sends the next. One
//! thread, one edge-triggered poll, one read and one write a batch. ◆

#![expect(clippy::disallowed_methods, reason = "I/O: drives sockets and measures time")]

use std::collections::VecDeque;
use std::io;
use std::iter;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::codec::{Codec, Piece};
use super::histogram::Histogram;
use super::lane::Lane;
use super::target::Target;
use super::workload::{Mix, Op, Ops, Workload};
use super::{sets, vectors};
use crate::failure::Failure;

/// Bytes read at once: several 16 KiB values.
const SCRATCH: usize = 128 * 1024;
/// Events taken from the kernel at once.
const EVENTS: usize = 1024;
/// When no reply comes for this long the run is given up.
const STALL: Duration = Duration::from_secs(20);
/// How often the stop flag is looked at while nothing happens.
const TICK: Duration = Duration::from_millis(200);

/// How many ask, and what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Clients, each with its own connection (one to each node for [`Target::Nodes`]).
    pub clients: usize,
    /// Requests of a batch.
    pub pipeline: usize,
    /// Whom the clients log in as; its password is [`super::codec::PASSWORD`].
    pub user: Option<&'static str>,
    /// How long a client waits between a batch's last reply and its next batch.
    pub pause: Duration,
    /// The commands.
    pub workload: Workload,
}

/// What a run took.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// From the first request to the last reply.
    pub elapsed: Duration,
    /// From the sending of a batch to each of its replies.
    pub latencies: Histogram,
}

/// Open connections to a target, ready to run.
#[derive(Debug)]
pub struct Load {
    poll: Poll,
    target: Target,
    plan: Plan,
    codec: Codec,
    /// What a search calls the index, node by node.
    indexes: Vec<Vec<u8>>,
    /// The lanes of client `c` are those at [`Load::lanes_of`].
    lanes: Vec<Lane>,
    clients: Vec<Client>,
    scratch: Vec<u8>,
    /// Reused between reads: places of the pieces that came.
    done: Vec<usize>,
    stop: Arc<AtomicBool>,
}

/// A client's current batch.
#[derive(Clone, Debug)]
struct Client {
    /// When the batch was sent.
    since: Instant,
    /// Requests of it not fully answered.
    open: usize,
    /// For each request of it the pieces still due.
    pieces_left: Vec<usize>,
}

/// A run's counters.
#[derive(Debug)]
struct Progress {
    ops: Ops,
    /// Requests not yet sent.
    to_send: u64,
    /// Requests not yet answered, sent or not.
    to_come: u64,
    latencies: Histogram,
    /// Clients that pause, and until when.
    pausing: VecDeque<(Instant, usize)>,
}

impl Load {
    /// Connects all clients of `plan` and has one request of each answered. `stop` ends runs early.
    ///
    /// # Errors
    /// Where a connection fails or its first reply is wrong.
    pub fn connect(target: Target, plan: Plan, stop: Arc<AtomicBool>) -> Result<Self, Failure> {
        let poll = Poll::new().map_err(Failure::io("making a poll"))?;
        let codec = Codec::new(&plan.workload);
        let mut lanes = Vec::with_capacity(plan.clients * target.width());
        for _ in 0..plan.clients {
            for (node, key) in target.greetings() {
                if stop.load(Ordering::Relaxed) {
                    return Err(Failure::Interrupted);
                }
                let mut lane = Lane::open(node, &codec, plan.user, key)?;
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry()
                    .register(lane.stream_mut(), Token(lanes.len()), interest)
                    .map_err(Failure::io("watching a connection"))?;
                lanes.push(lane);
            }
        }
        let idle = Client { since: Instant::now(), open: 0, pieces_left: vec![0; plan.pipeline] };
        let clients = vec![idle; plan.clients];
        let indexes = target.indexes(&codec).into_iter().map(|(_, name)| name).collect();
        Ok(Self {
            poll,
            target,
            plan,
            codec,
            indexes,
            lanes,
            clients,
            scratch: vec![0; SCRATCH],
            done: Vec::new(),
            stop,
        })
    }

    /// Sends `requests` requests and returns when the last is answered.
    ///
    /// # Errors
    /// At the first wrong reply, closed connection or stall, or when told to stop.
    pub fn run(&mut self, requests: u64, seed: u64) -> Result<Outcome, Failure> {
        self.run_until(requests, None, seed)
    }

    /// Sends requests for `time` and returns when the last is answered.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_for(&mut self, time: Duration, seed: u64) -> Result<Outcome, Failure> {
        self.run_until(u64::MAX, Some(time), seed)
    }

    fn run_until(&mut self, requests: u64, time: Option<Duration>, seed: u64) -> Result<Outcome, Failure> {
        let ops = Ops::new(self.plan.workload, seed);
        let mut run = Progress {
            ops,
            to_send: requests,
            to_come: requests,
            latencies: Histogram::default(),
            pausing: VecDeque::new(),
        };
        let mut events = Events::with_capacity(EVENTS);
        let start = Instant::now();
        for client in 0..self.clients.len() {
            self.send_batch(client, start, &mut run)?;
        }
        let mut last_event = start;
        while run.to_come > 0 {
            self.wait(&mut events, &run)?;
            self.end_pauses(&mut run)?;
            if events.is_empty() {
                self.check_stall(last_event, &run)?;
                continue;
            }
            last_event = Instant::now();
            if time.is_some_and(|time| last_event - start >= time) {
                run.to_come -= run.to_send;
                run.to_send = 0;
            }
            for event in &events {
                let lane = event.token().0;
                if event.is_writable() {
                    self.lanes[lane].flush()?;
                }
                if event.is_readable() {
                    self.on_readable(lane, &mut run)?;
                }
            }
        }
        Ok(Outcome { elapsed: start.elapsed(), latencies: run.latencies })
    }

    /// Clients that have paused for long enough go on; all pause for as long, so the first are the first.
    fn end_pauses(&mut self, run: &mut Progress) -> Result<(), Failure> {
        while let Some((until, client)) = run.pausing.front().copied() {
            let now = Instant::now();
            if until > now {
                break;
            }
            run.pausing.pop_front();
            self.send_batch(client, now, run)?;
        }
        Ok(())
    }

    fn wait(&mut self, events: &mut Events, run: &Progress) -> Result<(), Failure> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted);
        }
        let pause = run.pausing.front().map(|(until, _)| until.saturating_duration_since(Instant::now()));
        match self.poll.poll(events, Some(pause.unwrap_or(TICK).min(TICK))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result.map_err(Failure::io("waiting for replies")),
        }
    }

    fn check_stall(&self, last_event: Instant, run: &Progress) -> Result<(), Failure> {
        if last_event.elapsed() < STALL {
            return Ok(());
        }
        Err(Failure::Stalled { seconds: STALL.as_secs(), open: run.to_come - run.to_send })
    }

    /// Takes in replies; a client whose batch is complete sends its next.
    fn on_readable(&mut self, lane: usize, run: &mut Progress) -> Result<(), Failure> {
        self.lanes[lane].fill(&mut self.scratch, &self.codec, &mut self.done)?;
        if self.done.is_empty() {
            return Ok(());
        }
        let index = lane / self.target.width();
        let client = &mut self.clients[index];
        let now = Instant::now();
        let mut answered = 0;
        for place in self.done.drain(..) {
            client.pieces_left[place] -= 1;
            answered += usize::from(client.pieces_left[place] == 0);
        }
        client.open -= answered;
        run.to_come -= answered as u64;
        run.latencies.add(now - client.since, answered as u64);
        if client.open > 0 {
            return Ok(());
        }
        if self.plan.pause.is_zero() {
            return self.send_batch(index, now, run);
        }
        run.pausing.push_back((now + self.plan.pause, index));
        Ok(())
    }

    fn send_batch(&mut self, client: usize, now: Instant, run: &mut Progress) -> Result<(), Failure> {
        let count = usize::try_from(run.to_send).unwrap_or(usize::MAX).min(self.plan.pipeline);
        run.to_send -= count as u64;
        self.clients[client].since = now;
        self.clients[client].open = count;
        for place in 0..count {
            let pieces = self.append(client, place, &run.ops.next_op());
            self.clients[client].pieces_left[place] = pieces;
        }
        for lane in self.lanes_of(client) {
            self.lanes[lane].flush()?;
        }
        Ok(())
    }

    /// Appends `op` to the lanes that it goes to, and returns of how many pieces its reply consists.
    fn append(&mut self, client: usize, place: usize, op: &Op) -> usize {
        let first = self.lanes_of(client).start;
        match op {
            &Op::Get(key) => self.append_get(first, place, key),
            &Op::Store(key) => {
                let lane = &mut self.lanes[first + self.target.owner(key)];
                self.codec.store(key, lane.out_mut());
                lane.expect(place, [Piece::Stored])
            }
            &Op::Script(key) => {
                let lane = &mut self.lanes[first + self.target.owner(key)];
                self.codec.script(key, lane.out_mut());
                lane.expect(place, [Piece::Value(key)])
            }
            Op::Mget(keys) if self.target.width() == 1 => {
                let lane = &mut self.lanes[first];
                self.codec.mget(keys, lane.out_mut());
                let values = keys.iter().map(|&key| Piece::Value(key));
                lane.expect(place, iter::once(Piece::Head(keys.len())).chain(values))
            }
            // A cluster takes no keys of different slots in one command, and random keys share none.
            Op::Mget(keys) => keys.iter().map(|&key| self.append_get(first, place, key)).sum(),
            &Op::Union(key) => {
                let lane = &mut self.lanes[first + self.target.owner(key)];
                self.codec.union(key, lane.out_mut());
                let members = sets::union(key);
                lane.expect(place, iter::once(Piece::Head(members.len())).chain(members.map(Piece::Member)))
            }
            // Of a cluster every node has its part; merging what they say is left out.
            &Op::Nearest(key) => {
                (0..self.target.width()).map(|node| self.append_nearest(first, node, place, key)).sum()
            }
        }
    }

    fn append_get(&mut self, first_lane: usize, place: usize, key: u32) -> usize {
        let lane = &mut self.lanes[first_lane + self.target.owner(key)];
        self.codec.get(key, lane.out_mut());
        lane.expect(place, [Piece::Value(key)])
    }

    fn append_nearest(&mut self, first_lane: usize, node: usize, place: usize, key: u32) -> usize {
        let lane = &mut self.lanes[first_lane + node];
        self.codec.nearest(key, &self.indexes[node], lane.out_mut());
        let held = |key| self.target.owner(key) == node;
        let ids: Vec<u32> = vectors::nearest(key, self.plan.workload.keys, held).collect();
        let head = [Piece::Head(ids.len() + 1), Piece::Count(ids.len())];
        lane.expect(place, head.into_iter().chain(ids.into_iter().map(Piece::Name)))
    }

    fn lanes_of(&self, client: usize) -> Range<usize> {
        let width = self.target.width();
        client * width..(client + 1) * width
    }
}

/// Stores, as `user`, what each key of `workload` holds.
///
/// # Errors
/// As [`Load::run`].
pub fn fill(
    target: Target,
    workload: Workload,
    user: Option<&'static str>,
    stop: Arc<AtomicBool>,
) -> Result<(), Failure> {
    let workload = Workload { mix: Mix::Fill, ..workload };
    let plan = Plan { clients: 8, pipeline: 16, user, pause: Duration::ZERO, workload };
    Load::connect(target, plan, stop)?.run(u64::from(workload.keys), 0).map(|_| ())
}
