//! Clients that can be told to go to another entry: who takes that, what they carry, and what they are told (the push
//! MOVING of Redis Software, which current clients obey: redis-py, go-redis, Lettuce, Jedis, node-redis). Pure.
//!
//! A client library moves its whole pool by one push. So clients are told by *groups*: who connects from one address, with
//! one library, as one tenant, by one entry.

use std::net::IpAddr;
use std::sync::Arc;

use super::clients::Clients;
use super::connection::Client;
use super::session::Session;
use crate::backend::owner::Replies as _;
use crate::entry::group::{Group, Named, Teller};
use crate::refusal::Refusal;
use crate::resp::protocol::Protocol;
use crate::resp::request::Request;

/// What an endpoint is called for a client: CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type.
fn named(word: &[u8]) -> Option<Named> {
    const WORDS: [(&[u8], Named); 5] = [
        (b"internal-ip", Named::Address),
        (b"external-ip", Named::Address),
        (b"internal-fqdn", Named::Host),
        (b"external-fqdn", Named::Host),
        (b"none", Named::Nothing),
    ];
    WORDS.iter().find(|(known, _)| word.eq_ignore_ascii_case(known)).map(|(_, named)| *named)
}

/// CLIENT MAINT_NOTIFICATIONS ON [moving-endpoint-type TYPE], or OFF.
///
/// # Errors
/// Where it is anything else, or the client speaks RESP2, which has no pushes.
pub(super) fn set(session: &mut Session, request: &Request<'_>) -> Result<(), Refusal> {
    let word = |index| request.arg(index).unwrap_or_default();
    if word(2).eq_ignore_ascii_case(b"off") && request.len() == 3 {
        session.take_moves(None);
        return Ok(());
    }
    if !word(2).eq_ignore_ascii_case(b"on") {
        return Err(Refusal::Syntax);
    }
    // An address is what a server is moved by where nothing else is asked for.
    let mut wanted = Named::Address;
    for option in (3..request.len()).step_by(2) {
        if !word(option).eq_ignore_ascii_case(b"moving-endpoint-type") {
            return Err(Refusal::Syntax);
        }
        wanted = named(word(option + 1)).ok_or(Refusal::Syntax)?;
    }
    if session.protocol == Protocol::Resp2 {
        return Err(Refusal::Keys("ERR CLIENT MAINT_NOTIFICATIONS is only supported in RESP3"));
    }
    session.take_moves(Some(wanted));
    Ok(())
}

// Milliseconds that a client has to close its side after it was told the end: longer than any round trip.
const LINGER: u64 = 5_000;

impl Client {
    /// Whether it can be told to move now, and how it wants to be told.
    fn takes_moves(&self) -> Option<Named> {
        let named = self.session.takes_moves().filter(|_| self.session.protocol == Protocol::Resp3)?;
        // Within a reply nothing else may go out; who is to be closed goes anyway.
        (self.reads_requests() && !self.within_reply).then_some(named)
    }

    /// Whether it is the proxy's to close without anything being lost: nothing is under way, and nothing at a server is
    /// its own.
    pub(super) fn is_at_rest(&self) -> bool {
        self.is_between_requests()
            && self.private.is_none()
            && self.subscriptions.is_none()
            && self.session.transaction.is_none()
    }

    /// Whether nothing of a request or a reply is under way.
    pub(super) fn is_between_requests(&self) -> bool {
        self.reads_requests()
            && self.replies.is_empty()
            && self.output.is_empty()
            && self.rest.is_none()
            && self.parked == 0
            && !self.is_paused()
            && !self.is_blocked()
    }

    fn group_source(&self) -> (IpAddr, Box<str>, Option<Arc<str>>) {
        let library = self.session.names().map(|names| names.lib_name.clone()).unwrap_or_default();
        (self.session.peer.ip(), library, self.session.login().tenant_name().cloned())
    }
}

impl Clients {
    /// The groups of the clients that came by these entries, and what each carried since this was asked last.
    pub fn groups(&mut self, entries: &[Arc<str>]) -> Vec<Group> {
        let mut groups = std::collections::HashMap::<_, Group>::new();
        // The busiest of a group is told: it reads soon.
        let mut busiest = std::collections::HashMap::new();
        for (key, client) in self.records.iter_mut() {
            let Some(entry) = &client.session.door.entry else { continue };
            if !entries.contains(&entry.id) {
                continue;
            }
            let (source, library, tenant) = client.group_source();
            let name = (entry.id.clone(), source, library, tenant);
            let carried = std::mem::take(&mut client.session.carried);
            let group = groups.entry(name.clone()).or_insert_with(|| Group::new(name.clone()));
            group.connections += 1;
            group.bytes += u64::from(carried);
            if let Some(named) = client.takes_moves()
                && busiest.get(&name).is_none_or(|most| *most <= carried)
            {
                busiest.insert(name, carried);
                group.teller = Some(Teller { key: key as u32, generation: client.generation, named });
            }
        }
        groups.into_values().collect()
    }

    /// Tells a client, which may have gone meanwhile; true if it was told.
    pub fn tell_move(&mut self, key: u32, generation: u32, push: &[u8]) -> bool {
        let Some(client) = self.records.get_mut(key as usize) else { return false };
        if client.generation != generation || client.takes_moves().is_none() {
            return false;
        }
        client.push_own(push, &mut self.spares);
        self.metrics.moves_told.add(1);
        self.touch(key);
        self.flush(&[]);
        true
    }

    /// Tells every client that can be told, of those that do not listen: the proxy is about to end.
    pub fn tell_all(&mut self, push: &[u8]) {
        let told: Vec<_> = self
            .records
            .iter()
            .filter_map(|(key, client)| client.takes_moves().map(|_| (key as u32, client.generation)))
            .collect();
        for (key, generation) in told {
            self.tell_move(key, generation, push);
        }
    }

    /// Closes those that were told the end and do not close.
    pub(super) fn end_retired(&mut self, now: u64) {
        self.has_retired = false;
        for (_, client) in self.records.iter_mut() {
            if client.is_retired_for(LINGER, now) {
                client.kill();
            }
            self.has_retired |= client.is_retiring();
        }
    }

    /// Closes up to `most` clients at rest that came by this entry and can't be told to move; where `told_too`, those too
    /// that can be.
    pub fn retire(&mut self, entry: &str, most: usize, told_too: bool, now: u64) -> usize {
        let came_by =
            |client: &Client| client.session.door.entry.as_ref().is_some_and(|own| *own.id == *entry);
        let leaving = self.records.iter_mut().map(|(_, client)| client).filter(|client| {
            came_by(client) && (told_too || client.takes_moves().is_none()) && client.is_at_rest()
        });
        let mut closed = 0;
        for client in leaving.take(most) {
            client.retire(now);
            closed += 1;
        }
        self.has_retired |= closed > 0;
        self.metrics.clients_retired.add(closed as u64);
        closed
    }

    /// Closes clients that are too old, at rest or after `grace` between two requests at least, few at a time.
    pub(super) fn retire_old(&mut self, now: u64, age: u64, grace: u64) {
        // A twentieth in ten seconds: those who come back do so one after the other.
        let mut left = self.records.len().div_ceil(200).max(1);
        for (_, client) in self.records.iter_mut() {
            if left == 0 {
                break;
            }
            let own = jittered(age, client.session.id);
            let old = client.session.since.until(now);
            let may_go = client.is_at_rest() || (old > own + grace && client.is_between_requests());
            if old > own && may_go {
                client.retire(now);
                self.has_retired = true;
                self.metrics.clients_retired.add(1);
                left -= 1;
            }
        }
    }
}

/// An age by which not all clients that came together leave together: a fifth more or less, always the same for one id.
fn jittered(age: u64, id: u64) -> u64 {
    // Fibonacci hashing: neighbours are far apart.
    let spread = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
    age - age / 5 + age * 2 / 5 * spread / 1_023
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_a_fifth_apart_from_the_one_asked_for() {
        let ages: Vec<_> = (1..10_000).map(|id| jittered(1_000_000, id)).collect();
        assert!(ages.iter().all(|age| (800_000..=1_200_000).contains(age)));
        let mean = ages.iter().sum::<u64>() / ages.len() as u64;
        assert!((990_000..1_010_000).contains(&mean), "{mean}");
    }
}
