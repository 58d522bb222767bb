//! ◆ Tries whether entries lead to a proxy: a connection through each, a PING or the first words of TLS, and any byte in
//! answer. Who answers may be this proxy or another one, who is content or says why not: all the same, clients get
//! through.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "I/O: a task for each entry, with sockets and a clock"
)]

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
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
use crate::tls::hello::{GOODBYE, hello};

/// One running task for each entry.
#[derive(Default)]
pub(super) struct Probes(HashMap<String, Probe>);

struct Probe {
    place: Place,
    health: Arc<AtomicU8>,
    task: JoinHandle<()>,
}

/// Where an entry is knocked at.
#[derive(Clone, PartialEq, Eq)]
struct Place {
    addresses: Vec<SocketAddr>,
    /// What clients call the fleet.
    name: String,
}

// Two tries of these are a death: 1.5 s at most, of the three within which it is to be out of the answers.
const INTERVAL: Duration = Duration::from_millis(500);
const LIMIT: Duration = Duration::from_millis(500);

impl Probes {
    /// Tries these entries from here on. Those that are as they were go on.
    pub(super) fn follow(&mut self, fleet: &FleetSettings) {
        let place = |entry: &EntrySettings| Place {
            addresses: entry.addresses.iter().map(|address| SocketAddr::new(*address, fleet.port)).collect(),
            name: fleet.name.clone(),
        };
        let is_same = |id: &str, probe: &Probe| {
            fleet.entries.iter().any(|entry| entry.id == id && probe.place == place(entry))
        };
        self.0.retain(|id, probe| is_same(id, probe));
        for entry in &fleet.entries {
            self.0.entry(entry.id.clone()).or_insert_with(|| Probe::start(entry.id.clone(), place(entry)));
        }
    }

    /// What is believed of an entry.
    pub(super) fn health(&self, id: &str) -> Health {
        let number = self.0.get(id).map_or(0, |probe| probe.health.load(Ordering::Relaxed));
        Health::of_number(number)
    }
}

impl Probe {
    fn start(id: String, place: Place) -> Self {
        let health = Arc::<AtomicU8>::default();
        let door = Door { place: place.clone(), speaks_tls: false };
        let task = tokio::spawn(try_forever(id, door, health.clone()));
        Self { place, health, task }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How an entry is knocked at.
struct Door {
    place: Place,
    /// Whether it answered to TLS, and to nothing else: asked so first from then on.
    speaks_tls: bool,
}

async fn try_forever(id: String, mut door: Door, health: Arc<AtomicU8>) {
    let mut tries = Tries::default();
    let mut believed = Health::Unknown;
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let reached = door.reach_any().await;
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

impl Door {
    /// An entry works while one of its addresses does: whoever is told of several tries them all.
    async fn reach_any(&mut self) -> io::Result<()> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for number in 0..self.place.addresses.len() {
            let reached = timeout(LIMIT, self.reach(self.place.addresses[number])).await;
            match reached.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Whoever takes a connection and closes it without a word may speak the other way only.
    async fn reach(&mut self, address: SocketAddr) -> io::Result<()> {
        let silence = match self.ask(address, self.speaks_tls).await {
            Err(error) if is_silence(&error) => error,
            heard => return heard,
        };
        self.ask(address, !self.speaks_tls).await.map_err(|_| silence)?;
        self.speaks_tls = !self.speaks_tls;
        Ok(())
    }

    async fn ask(&self, address: SocketAddr, tls: bool) -> io::Result<()> {
        let words =
            if tls { hello(&self.place.name).map_err(io::Error::other)? } else { b"PING\r\n".to_vec() };
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&words).await?;
        if stream.read(&mut [0; 64]).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if tls {
            // Apart: what is known is known.
            tokio::spawn(timeout(LIMIT, take_leave(stream)));
        }
        Ok(())
    }
}

/// Whoever answers does not take it for a handshake that was lost. The rest of its words is read, since a socket that is
/// closed with unread bytes resets the connection, and the farewell might not arrive.
async fn take_leave(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(&GOODBYE).await?;
    stream.shutdown().await?;
    while stream.read(&mut [0; 1024]).await? > 0 {}
    Ok(())
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}
