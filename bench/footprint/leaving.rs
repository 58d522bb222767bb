//! From a client's close to its backend connection's: blocked clients leave one after the other. ◆

#![expect(
    clippy::disallowed_methods,
    reason = "I/O: reads the clock right before a client's socket is closed"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;
use slotway_bench::failure::Failure;
use slotway_bench::terminal::progress;

use crate::case::{Case, blpop};
use crate::crowd::{Crowd, refusal};
use crate::relay::{Closed, Relay};
use crate::target::{Node, Stage, before_one, wait_blocked};

/// What stands before a client's number in its key.
const KEY: &str = "footprint:leaving:";
/// A backend connection that is open for so long behind its client's end counts as leaked.
const LEAKED: Duration = Duration::from_secs(5);

/// Milliseconds from close to close.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Delay {
    /// How many clients left.
    pub(crate) clients: usize,
    /// Half of them were faster.
    pub(crate) p50_ms: f64,
    /// One of a hundred was slower.
    pub(crate) p99_ms: f64,
    /// The slowest.
    pub(crate) max_ms: f64,
}

/// With the proxy between client and relay, and without: what the measuring itself takes.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Leaving {
    /// Client, proxy, relay, server.
    pub(crate) proxy: Delay,
    /// Client, relay, server.
    pub(crate) relay_alone: Delay,
}

/// Measures both; `Err` of the inner result: the proxy's words where it can't block.
pub(crate) fn measure(clients: usize, stage: &Stage<'_>) -> Result<Result<Leaving, String>, Failure> {
    let server = stage.backends.standalone[0].address;
    let relay = Relay::start(server)?;
    let relay_alone = one_after_the_other(&relay, relay.address, clients, "relay alone", stage)?;
    let relay = Relay::start(server)?;
    let one = before_one(relay.address, stage)?;
    if let Some(why) = refusal(one.address, &Case::Blocked.exchange(0))? {
        return Ok(Err(why));
    }
    let proxy = one_after_the_other(&relay, one.address, clients, "leaving", stage)?;
    Ok(Ok(Leaving { proxy, relay_alone }))
}

fn one_after_the_other(
    relay: &Relay,
    address: SocketAddr,
    clients: usize,
    place: &str,
    stage: &Stage<'_>,
) -> Result<Delay, Failure> {
    let exchange = |number| blpop(&format!("{KEY}{number}"));
    let mut crowd = Crowd::connect(address, clients, place, &stage.stop, exchange)?;
    wait_blocked(&[Node::of(&stage.backends.standalone[0])], clients as u64, &stage.stop)?;
    // What tried out whether the target can block has left.
    while relay.closed.try_recv().is_ok() {}
    let mut delays = Vec::with_capacity(clients);
    while let Some((number, began)) = crowd.leave(Instant::now) {
        if number % 250 == 0 {
            progress(&format!("{place}: {number} of {clients} clients are still there"));
        }
        let closed = relay.closed.recv_timeout(LEAKED).map_err(|_| {
            Failure::Unexpected(format!(
                "the backend connection of client {number} stayed open for {LEAKED:?}"
            ))
        })?;
        delays.push(delay(number, began, &closed)?);
    }
    summary(delays).ok_or_else(|| Failure::Unexpected("no client left".to_owned()))
}

fn delay(number: usize, began: Instant, closed: &Closed) -> Result<Duration, Failure> {
    if closed.number != Some(number) {
        let got = closed.number;
        return Err(Failure::Unexpected(format!(
            "client {number} left, the connection of {got:?} was closed"
        )));
    }
    Ok(closed.at.saturating_duration_since(began))
}

fn summary(mut delays: Vec<Duration>) -> Option<Delay> {
    delays.sort_unstable();
    let at = |share: f64| {
        let index = ((delays.len() as f64 * share).ceil() as usize).saturating_sub(1);
        delays.get(index).map(|delay| delay.as_secs_f64() * 1e3)
    };
    Some(Delay { clients: delays.len(), p50_ms: at(0.50)?, p99_ms: at(0.99)?, max_ms: at(1.0)? })
}

/// The client's number in the last of the keys in `bytes`.
pub(crate) fn number_in(bytes: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(bytes);
    let (_, rest) = text.rsplit_once(KEY)?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_that_of_the_last_key() {
        assert_eq!(number_in(&blpop("footprint:leaving:17").request), Some(17));
        assert_eq!(number_in(b"footprint:leaving:1\r\nfootprint:leaving:23\r\n"), Some(23));
        assert_eq!(number_in(b"$4\r\nPING\r\n"), None);
        assert_eq!(number_in(b"footprint:leaving:\r\n"), None);
    }

    #[test]
    fn quantiles_are_values_that_occurred() {
        let delays = (1..=200).rev().map(Duration::from_millis).collect();
        let delay = summary(delays).unwrap();
        assert_eq!((delay.p50_ms, delay.p99_ms, delay.max_ms), (100.0, 198.0, 200.0));
        assert_eq!(summary(Vec::new()), None);
    }
}
