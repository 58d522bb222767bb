//! ◆ Accepts clients and gives each to the least loaded worker: connections live long, so that a lottery
//! among the workers would stay lopsided.

#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "I/O: accepts client sockets")]

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tracing::warn;

use crate::config::settings::ClientSettings;
use crate::latest::Latest;
use crate::metrics::Metrics;
use crate::permit::{Load, Permit};
use crate::refusal::Refusal;
use crate::socket;
use crate::worker::message::{Message, Transport, Way, WorkerHandle};

/// The workers, with how many clients each has.
#[derive(Clone, Debug)]
pub struct Workers {
    workers: Arc<[(WorkerHandle, Load)]>,
}

impl Workers {
    /// Workers without clients.
    #[must_use]
    pub fn new(handles: &[WorkerHandle]) -> Self {
        Self { workers: handles.iter().map(|handle| (handle.clone(), Load::default())).collect() }
    }

    /// How many clients there are.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.workers.iter().map(|(_, load)| load.clients()).sum()
    }

    fn least_loaded(&self) -> Option<(&WorkerHandle, Permit)> {
        let (handle, load) = self.workers.iter().min_by_key(|(_, load)| load.clients())?;
        Some((handle, load.admit()))
    }
}

// Out of descriptors: those that come meanwhile wait in the backlog.
const PAUSE_WHEN_EXHAUSTED: Duration = Duration::from_millis(50);

/// Accepts for ever those who come in this way.
pub async fn run(listener: TcpListener, way: Way, workers: Workers, latest: Latest) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let home = latest.home();
                admit(stream, &way, &workers, &home.process.settings.clients, &home.metrics);
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                warn!(%error, "cannot accept clients");
                sleep(PAUSE_WHEN_EXHAUSTED).await;
            }
        }
    }
}

fn admit(stream: TcpStream, way: &Way, workers: &Workers, settings: &ClientSettings, metrics: &Metrics) {
    if workers.clients() >= settings.max_clients {
        metrics.control().clients_refused.add(1);
        if way.transport == Transport::Plain && !way.announced {
            // Best effort, as the servers do: a fresh socket has room for a line. To shake hands first would cost
            // what the limit is there to bound.
            let _ = stream.try_write(&Refusal::MaxClients.reply());
        }
        return;
    }
    // A client that has gone meanwhile fails here; there is nobody to tell.
    if socket::configure_client(&stream, settings).is_err() {
        return;
    }
    if let (Ok(stream), Some((worker, permit))) = (stream.into_std(), workers.least_loaded()) {
        worker.tell(Message::Client(stream, permit, way.clone()));
    }
}

/// Errors of one connection, not of the listener.
fn is_the_clients(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock)
}
