//! Clients that work while something happens to the cluster, and keep book of what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use crate::poll::eventually;
use crate::raw::Raw;

/// Clients that count: each increments counters of its own, writes and reads back values of its own.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    workers: Vec<JoinHandle<Book>>,
}

/// What one client did and was told.
#[derive(Debug, Default)]
pub struct Book {
    /// The client's number: part of its keys' names.
    pub client: usize,
    /// INCRs that were acknowledged, for each of the client's counters.
    pub acknowledged: Vec<i64>,
    /// INCRs answered with an error, for each counter: it may have run or not.
    pub unknown: Vec<i64>,
    /// Replies that cannot be: a counter that went back or jumped, another's value. Has to stay empty.
    pub wrong: Vec<String>,
    /// Every error reply.
    pub errors: Vec<String>,
    /// Why the connection ended, where it did.
    pub lost: Option<String>,
}

impl Load {
    /// Starts `clients` threads, each with `counters` counters spread over the slots (`tag` is part of
    /// every key: put a `{hash tag}` in it to keep all in one slot).
    #[must_use]
    pub fn start(addr: &str, clients: usize, counters: usize, tag: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicUsize::new(0));
        let workers = (0..clients).map(|client| {
            let (stop, rounds) = (Arc::clone(&stop), Arc::clone(&rounds));
            let worker = Worker::new(addr, client, counters, tag);
            spawn(move || worker.work(&stop, &rounds))
        });
        let workers = workers.collect();
        Self { stop, rounds, workers }
    }

    /// Waits until all clients together did `more` rounds from now on: that is, until the load runs.
    #[track_caller]
    pub fn wait_for_rounds(&self, more: usize) {
        let goal = self.rounds.load(Ordering::Relaxed) + more;
        eventually("the load goes on", Duration::from_secs(60), || {
            (self.rounds.load(Ordering::Relaxed) >= goal || self.workers.iter().all(JoinHandle::is_finished))
                .then_some(())
        });
    }

    /// Ends the load; gives the clients' books.
    ///
    /// # Panics
    /// Where a client's thread did.
    #[must_use]
    pub fn stop(self) -> Vec<Book> {
        self.stop.store(true, Ordering::SeqCst);
        self.workers.into_iter().map(|worker| worker.join().expect("a client that ends well")).collect()
    }
}

/// The name of a counter of a load.
#[must_use]
pub fn counter(tag: &str, client: usize, counter: usize) -> String {
    format!("load:{tag}:{client}:{counter}")
}

struct Worker {
    raw: Raw,
    tag: String,
    book: Book,
}

impl Worker {
    fn new(addr: &str, client: usize, counters: usize, tag: &str) -> Self {
        let zeros = vec![0; counters];
        let book = Book { client, acknowledged: zeros.clone(), unknown: zeros, ..Book::default() };
        Self { raw: Raw::connect(addr), tag: tag.to_owned(), book }
    }

    fn work(mut self, stop: &AtomicBool, rounds: &AtomicUsize) -> Book {
        for round in 0.. {
            if stop.load(Ordering::SeqCst) || self.book.lost.is_some() {
                break;
            }
            let number = round % self.book.acknowledged.len();
            self.count(number);
            self.write_and_read(number, round);
            rounds.fetch_add(1, Ordering::Relaxed);
        }
        self.book
    }

    fn count(&mut self, number: usize) {
        let key = counter(&self.tag, self.book.client, number);
        let Some(reply) = self.ask(&["INCR", &key]) else { return };
        if reply.is_error() {
            self.book.unknown[number] += 1;
            return;
        }
        self.book.acknowledged[number] += 1;
        let least = self.book.acknowledged[number];
        let most = least + self.book.unknown[number];
        if !(least..=most).contains(&reply.int()) {
            self.book.wrong.push(format!("{key} is {reply:?}, has to be {least} to {most}"));
        }
    }

    fn write_and_read(&mut self, number: usize, round: usize) {
        let key = format!("{}:value", counter(&self.tag, self.book.client, number));
        let nonce = format!("{}-{number}-{round}", self.book.client);
        let Some(written) = self.ask(&["SET", &key, &nonce]) else { return };
        if written.is_error() {
            return;
        }
        let Some(read) = self.ask(&["GET", &key]) else { return };
        if !read.is_error() && read.text() != nonce {
            self.book.wrong.push(format!("{key} is {read:?}, has to be {nonce}"));
        }
    }

    fn ask(&mut self, argv: &[&str]) -> Option<crate::value::Value> {
        match self.raw.try_call(argv) {
            Ok(reply) => {
                if reply.is_error() {
                    self.book.errors.push(reply.error());
                }
                Some(reply)
            }
            Err(error) => {
                self.book.lost = Some(error.to_string());
                None
            }
        }
    }
}
