//! ◆ Tries whether entries lead to a proxy: a connection through each, a PING, and any byte in answer. Who answers may be
//! this proxy or another one, that of a TLS listener speaks of what it did not understand: all the same, clients get
//! through.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "I/O: a task for each entry, with sockets and a clock"
)]

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use crate::config::fleet::{EntrySettings, FleetSettings};
use crate::entry::health::Tries;
use crate::entry::report::Health;

/// One running task for each entry.
#[derive(Default)]
pub(super) struct Probes(HashMap<String, Probe>);

struct Probe {
    addresses: Vec<IpAddr>,
    port: u16,
    health: Arc<AtomicU8>,
    task: JoinHandle<()>,
}

// Two tries of these are a death: 1.5 s at most, of the three within which it is to be out of the answers.
const INTERVAL: Duration = Duration::from_millis(500);
const LIMIT: Duration = Duration::from_millis(500);

impl Probes {
    /// Tries these entries from here on. Those that are as they were go on.
    pub(super) fn follow(&mut self, fleet: &FleetSettings) {
        let is_same = |probe: &Probe, entry: &EntrySettings| {
            probe.addresses == entry.addresses && probe.port == fleet.port
        };
        self.0.retain(|id, probe| fleet.entries.iter().any(|entry| entry.id == *id && is_same(probe, entry)));
        for entry in &fleet.entries {
            self.0.entry(entry.id.clone()).or_insert_with(|| Probe::start(entry, fleet.port));
        }
    }

    /// What is believed of an entry.
    pub(super) fn health(&self, id: &str) -> Health {
        let number = self.0.get(id).map_or(0, |probe| probe.health.load(Ordering::Relaxed));
        Health::of_number(number)
    }
}

impl Probe {
    fn start(entry: &EntrySettings, port: u16) -> Self {
        let health = Arc::<AtomicU8>::default();
        let (id, addresses) = (entry.id.clone(), entry.addresses.clone());
        let task = tokio::spawn(try_forever(id, addresses.clone(), port, health.clone()));
        Self { addresses, port, health, task }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn try_forever(id: String, addresses: Vec<IpAddr>, port: u16, health: Arc<AtomicU8>) {
    let mut tries = Tries::default();
    let mut believed = Health::Unknown;
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let reached = reach_any(&addresses, port).await;
        let now = tries.note(reached.is_ok());
        if now != believed {
            match &reached {
                Ok(()) => info!(entry = id, "entry is up"),
                Err(error) => warn!(entry = id, %error, "entry is down"),
            }
            believed = now;
            health.store(now as u8, Ordering::Relaxed);
        }
    }
}

/// An entry works while one of its addresses does: whoever is told of several tries them all.
async fn reach_any(addresses: &[IpAddr], port: u16) -> io::Result<()> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        let reached = timeout(LIMIT, reach(SocketAddr::new(*address, port))).await;
        match reached.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn reach(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"PING\r\n").await?;
    match stream.read(&mut [0; 64]).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
