//! ◆ Clients that have connected for TLS, until they have shaken hands. They count under the client limit, and are no
//! client of the worker's before that.

#![expect(clippy::disallowed_methods, reason = "I/O: starts a task for each, and bounds its time")]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::timeout;
use tracing::debug;

use super::Worker;
use super::arrivals::Arrival;
use crate::metrics::WorkerMetrics;
use crate::stream::Stream;
use crate::tls::acceptor::ServerFiles;
use crate::tls::certificates::Certificates;
use crate::tls::failure::HandshakeFailure;
use crate::tls::handshake;

impl Worker {
    /// Serves this client once it has shaken hands.
    pub(super) fn shake_hands(&self, arrival: Arrival) {
        let (Some(this), Some(certificates), Some(tls)) = (
            self.this.upgrade(),
            self.shared.process.certificates.clone(),
            &self.shared.process.settings.tls,
        ) else {
            return;
        };
        let pending = Pending::new(self.metrics.clone());
        spawn_local(serve(this, arrival, certificates, tls.handshake_timeout, pending));
    }
}

async fn serve(
    worker: Rc<RefCell<Worker>>,
    Arrival { stream, permit, way, origin }: Arrival,
    certificates: Arc<Certificates<ServerFiles>>,
    limit: Duration,
    pending: Pending,
) {
    let peer = stream.peer_addr().ok();
    let shaken = timeout(limit, handshake::accept(stream, &certificates.current())).await;
    let metrics = &pending.metrics;
    match shaken.unwrap_or(Err(HandshakeFailure::TimedOut)) {
        Ok(stream) => {
            metrics.tls_handshakes.add(1);
            let mut worker = worker.borrow_mut();
            // The process may have begun to end meanwhile.
            if !worker.drains {
                worker.admit(Stream::Tls(stream), permit, way, origin);
            }
        }
        // Not louder: whoever can reach the port could fill the log.
        Err(error) => {
            count(metrics, &error);
            debug!(client.addr = ?peer, %error, "TLS handshake failed");
        }
    }
}

fn count(metrics: &WorkerMetrics, failure: &HandshakeFailure) {
    let counter = match failure {
        HandshakeFailure::NotTls => &metrics.tls_failed_not_tls,
        HandshakeFailure::Incompatible(_) => &metrics.tls_failed_incompatible,
        HandshakeFailure::Certificate(_) => &metrics.tls_failed_certificate,
        HandshakeFailure::Refused(_) => &metrics.tls_failed_refused,
        HandshakeFailure::Cancelled => &metrics.tls_cancelled,
        HandshakeFailure::Protocol(_) | HandshakeFailure::TooLong => &metrics.tls_failed_protocol,
        HandshakeFailure::Lost(_) => &metrics.tls_failed_lost,
        HandshakeFailure::TimedOut => &metrics.tls_failed_timeout,
    };
    counter.add(1);
}

/// A handshake that is counted as under way.
struct Pending {
    metrics: Arc<WorkerMetrics>,
}

impl Pending {
    fn new(metrics: Arc<WorkerMetrics>) -> Self {
        metrics.tls_handshaking.add(1);
        Self { metrics }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.metrics.tls_handshaking.sub(1);
    }
}
