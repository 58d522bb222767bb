//! Errors that say that a server lacks what was called: the request did not run, is kept, and goes again once the
//! server was given what it lacks. Once: what it says then is the answer.

use super::clients::Clients;
use super::retry::{Parked, Target};
use crate::backend::in_flight::{Origin, Pending};
use crate::backend::lane::Lane;
use crate::cluster::slot_map::Endpoint;
use crate::command::groups::with_request;
use crate::command::scripted::{self, Scripted};
use crate::route::redirect::Lack;
use crate::scripts::known::Doubt;
use crate::scripts::repairs::Call;

impl Clients {
    /// Takes note of an error to a request that calls a script or a function; true where the request is kept, and
    /// this is not its answer.
    ///
    /// Not kept is a request behind which its client has sent others: they ran, and it must not run after them. Of
    /// those that call the same in the same way none ran, and all go again in their order.
    pub(super) fn repair(
        &mut self,
        origin: Origin,
        pending: &Pending,
        request: &[u8],
        (node, lane): (&Endpoint, Lane),
        error: &[u8],
    ) -> bool {
        let Some(lack) = Lack::parse(error) else { return false };
        if lack == Lack::Compiles {
            if let Some(body) = scripted::body_of(request) {
                self.scripts.note_broken(&body);
            }
            return false;
        }
        let called = with_request(request, |request| {
            Scripted::of(request).and_then(|called| Some((called.tag(), Doubt::of(&called)?)))
        });
        let Some((kind, doubt)) = called.filter(|(_, doubt)| doubt.is_of(lack)) else { return false };
        self.scripts.doubts.push((node.clone(), lane, doubt));
        let parked = Parked::again(origin, pending, lane, Target::Slot, request, Some(error));
        // Also where this request can't go again: the next one shall.
        let parked = if pending.repaired { None } else { self.once_more(parked, node, doubt) };
        let client = self.parts(origin.client, origin.generation).map(|parts| parts.client);
        let Some(parked) = parked else { return false };
        if !client.is_some_and(|client| client.replies.has_only_alike_behind(origin.ticket, kind)) {
            return false;
        }
        self.metrics.scripts_repaired.add(u64::from(lack == Lack::Script));
        self.park(parked);
        true
    }

    /// When a request that was refused is to go again; `None`: nobody has what it calls.
    fn once_more(&mut self, parked: Parked, node: &Endpoint, doubt: Doubt) -> Option<Parked> {
        let call = match doubt {
            Doubt::Script(digest) if self.scripts.store().has(digest) => Call::Goes,
            Doubt::Script(_) => Call::Ends,
            Doubt::Functions => self.repairs.on_missing(node, self.now),
        };
        match call {
            Call::Waits => Some(parked.awaiting(node)),
            Call::Goes => Some(Parked { pending: parked.pending.repaired(), ..parked }),
            Call::Ends => None,
        }
    }

    /// A node's answer to a script that it was told: an error means that it does not have it.
    pub(super) fn on_told(&mut self, request: &[u8], (node, lane): (&Endpoint, Lane), answer: &[u8]) {
        if answer.starts_with(b"-")
            && let Some(body) = scripted::body_of(request)
        {
            if Lack::parse(answer) == Some(Lack::Compiles) {
                self.scripts.note_broken(&body);
            }
            self.scripts.on_not_told(node, lane, &body, answer);
        }
    }
}
