//! ◆ Clients that have just connected: what stands in front of their requests is read first, a PROXY header, then a
//! handshake for TLS. They count under the client limit, and are no client of the worker's before that.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "I/O: reads sockets, starts a task for each, and bounds its time"
)]

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;
use tracing::debug;

use super::Worker;
use super::message::{Transport, Way};
use crate::backend::owner::Owner;
use crate::client::connection::Client;
use crate::client::session::Session;
use crate::entry::header::{self, HeaderError, Origin, Step};
use crate::permit::Permit;
use crate::stream::Stream;

/// A client before it says anything.
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) permit: Permit,
    pub(super) way: Way,
    /// What a balancer said of where it comes from.
    pub(super) origin: Option<Origin>,
}

/// Why there is no header.
#[derive(Debug, Error)]
enum NoHeader {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("closed before the PROXY header was whole")]
    Closed,
    #[error("{0}")]
    Wrong(#[from] HeaderError),
    #[error("no PROXY header within {0:?}")]
    TimedOut(Duration),
}

impl Worker {
    /// Takes a connection that was accepted.
    pub(super) fn accept(&mut self, stream: std::net::TcpStream, permit: Permit, way: Way) {
        // A client that is gone before it was served is nobody's error.
        let Ok(stream) = TcpStream::from_std(stream) else { return };
        let arrival = Arrival { stream, permit, way, origin: None };
        if !arrival.way.announced {
            return self.open(arrival);
        }
        if let Some(this) = self.this.upgrade() {
            let limit = self.shared.process.settings.clients.auth_timeout;
            spawn_local(learn_origin(this, arrival, limit));
        }
    }

    fn open(&mut self, arrival: Arrival) {
        match arrival.way.transport {
            Transport::Plain => {
                let Arrival { stream, permit, way, origin } = arrival;
                self.admit(Stream::Plain(stream), permit, way, origin);
            }
            Transport::Tls => self.shake_hands(arrival),
        }
    }

    /// Serves a client that can speak RESP from here on.
    pub(super) fn admit(&mut self, stream: Stream, permit: Permit, way: Way, origin: Option<Origin>) {
        let (Ok(peer), Ok(local)) = (stream.tcp().peer_addr(), stream.tcp().local_addr()) else { return };
        let process = &self.shared.process;
        let identity = stream.peer_identity();
        // An address of a tenant's own is its door, or a name that was asked for.
        let asked = identity.and_then(|tls| process.tenants.behind(tls.server_name.as_deref()?));
        let tenant = way.tenant.or_else(|| asked.cloned());
        let login = process.first_login(tenant.as_deref(), identity);
        let fleet = process.settings.fleet.as_ref();
        let entry = fleet.and_then(|fleet| fleet.entry_behind(local, origin.map(|origin| origin.entry.ip())));
        let entry = entry.map(|entry| entry.id.as_str());
        let (peer, local) = origin.map_or((peer, local), |origin| (origin.client, origin.entry));
        let door = self.clients.doors.share(local, tenant, entry, &process.meter);
        let session = Session::new(process.next_client_id(), peer, door, login, self.now());
        match stream.peer_identity() {
            None => debug!(client.addr = %peer, client.id = session.id, "client connected"),
            Some(tls) => debug!(client.addr = %peer, client.id = session.id, %tls, "client connected"),
        }
        self.metrics.clients_accepted.add(1);
        session.door.count_client(true);
        self.serve_client(Box::new(Client::new(stream, session, permit)));
    }
}

/// Reads the header; only then the client is served.
async fn learn_origin(worker: Rc<RefCell<Worker>>, mut arrival: Arrival, limit: Duration) {
    let read = timeout(limit, read_header(&mut arrival.stream)).await;
    let mut worker = worker.borrow_mut();
    match read.unwrap_or(Err(NoHeader::TimedOut(limit))) {
        // The process may have begun to end meanwhile.
        Ok(origin) if !worker.drains => {
            worker.metrics.proxy_headers.add(1);
            arrival.origin = origin;
            worker.open(arrival);
        }
        Ok(_) => {}
        // Not louder: whoever can reach the port could fill the log.
        Err(error) => {
            worker.metrics.proxy_headers_failed.add(1);
            debug!(client.addr = ?arrival.stream.peer_addr().ok(), %error, "no PROXY header");
        }
    }
}

async fn read_header(stream: &mut TcpStream) -> Result<Option<Origin>, NoHeader> {
    let mut bytes = Vec::new();
    loop {
        let more = match header::read(&bytes)? {
            Step::Whole(origin) => return Ok(origin),
            Step::More(more) => more,
        };
        // Not one byte more: what follows is the client's.
        if (&mut *stream).take(more as u64).read_buf(&mut bytes).await? == 0 {
            return Err(NoHeader::Closed);
        }
    }
}
