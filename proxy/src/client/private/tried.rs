//! What the twin of a blocking command came to, see [`crate::command::twin`].

use super::super::connection::Client;
use super::super::replies::Piece;
use super::super::spares::Spares;
use super::job::Stage;
use super::start::with_request;
use crate::backend::in_flight::Ticket;
use crate::backend::owner::Reply;
use crate::command::twin;
use crate::metrics::WorkerMetrics;

impl Client {
    /// Whether the reply to this ticket is a twin's.
    pub(in super::super) fn is_trying(&self, ticket: Ticket) -> bool {
        let job = self.private.as_ref().and_then(|private| private.job.as_ref());
        job.is_some_and(|job| job.ticket == ticket && matches!(job.stage, Stage::Trying(_)))
    }

    /// Takes a piece of the twin's reply: the answer, or that there is nothing, or an error, which the command
    /// itself shall say in its own words. Then a private connection is needed.
    pub(in super::super) fn on_tried(
        &mut self,
        reply: &Reply<'_>,
        part: Piece<'_>,
        spares: &mut Spares,
        metrics: &WorkerMetrics,
    ) {
        let Some(job) = self.job_mut() else { return };
        let Stage::Trying(shape) = job.stage else { return };
        if !reply.first {
            self.fill(part, reply, spares);
            return;
        }
        let bytes = reply.bytes();
        if bytes.first() == Some(&b'-') || twin::is_empty(bytes) {
            job.stage = Stage::Ready;
            job.begin_waiting(metrics);
            self.wake();
            return;
        }
        if !job.blocked {
            metrics.blocking_tried_first.add(1);
        }
        let (head, skipped) = shape.head(bytes, &first_key(&job.request));
        if !head.is_empty() {
            self.fill_own(Piece { bytes: &head, more: true, ..part }, spares);
        }
        let rest = Reply { range: reply.range.start + skipped..reply.range.end, ..reply.clone() };
        self.fill(Piece { bytes: rest.bytes(), ..part }, &rest, spares);
    }
}

/// The first key as it stands in the request: argument 1 wherever a reply is to be given it.
fn first_key(frame: &[u8]) -> Box<[u8]> {
    with_request(frame, |request| Some(request.raw_arg(1).into())).unwrap_or_default()
}
