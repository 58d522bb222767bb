//! What the twin of a blocking command came to, see [`crate::command::twin`].

use super::super::connection::Client;
use super::super::replies::Piece;
use super::super::spares::Spares;
use super::job::{Job, Stage};
use super::search;
use crate::backend::in_flight::Ticket;
use crate::backend::owner::Reply;
use crate::command::groups::with_request;
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
        if !reply.first {
            self.fill(part, reply, spares);
            return;
        }
        let Some((head, skipped)) = self.judge(reply.bytes(), metrics) else { return };
        if !head.is_empty() {
            self.fill_own(Piece { bytes: &head, more: true, ..part }, spares);
        }
        let rest = Reply { range: reply.range.start + skipped..reply.range.end, ..reply.clone() };
        self.fill(Piece { bytes: rest.bytes(), ..part }, &rest, spares);
    }

    /// The same of a reply that lies in no batch: a plan's.
    pub(in super::super) fn on_tried_by_plan(
        &mut self,
        part: Piece<'_>,
        spares: &mut Spares,
        metrics: &WorkerMetrics,
    ) {
        if self.judge(part.bytes, metrics).is_some() {
            self.fill_own(part, spares);
        }
    }

    /// What the beginning of the twin's reply comes to: `None` where the job goes on, else what stands in the place of
    /// its first bytes, and how many those are.
    fn judge(&mut self, bytes: &[u8], metrics: &WorkerMetrics) -> Option<(Vec<u8>, usize)> {
        let job = self.job_mut()?;
        let Stage::Trying(shape) = job.stage else { return None };
        let is_error = bytes.first() == Some(&b'-');
        let goes_on = match job.search_mut() {
            // The error is the answer: it says what is wrong with a key.
            Some(_) if is_error => false,
            Some(search) if !search.unknown.is_empty() => search::on_last_id(job, bytes),
            Some(search) if twin::is_empty(bytes) => {
                search.at += 1;
                true
            }
            Some(_) => false,
            None if is_error || twin::is_empty(bytes) => {
                job.begin_waiting(metrics);
                true
            }
            None => false,
        };
        if goes_on {
            job.stage = Stage::Ready;
            self.wake();
            return None;
        }
        if !job.blocked && !is_error {
            metrics.blocking_tried_first.add(1);
        }
        Some(if is_error { Default::default() } else { shape.head(bytes, &first_key(job)) })
    }
}

/// The first key that was asked for, as it stands in a request.
fn first_key(job: &mut Job) -> Box<[u8]> {
    if let Some(search) = job.search_mut() {
        let key = search.groups.get(search.at).and_then(|group| group.keys.first());
        return key.cloned().unwrap_or_default();
    }
    // Argument 1 wherever a reply is to be given it.
    with_request(&job.request, |request| Some(request.raw_arg(1).into())).unwrap_or_default()
}
