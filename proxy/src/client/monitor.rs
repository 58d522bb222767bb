//! MONITOR: what the proxy's clients say, shown to those who asked. A line is written only while somebody watches.

use std::fmt::Write as _;
use std::sync::Arc;

use super::connection::Client;
use super::dispatch::Turn;
use super::session::Session;
use crate::command::spec::{Flags, Local, Spec, Treatment};
use crate::command::table::Lookup;
use crate::pubsub::subscriptions::Subscriptions;
use crate::refusal::Refusal;
use crate::resp::request::Request;

/// A worker's monitors, and what is to be shown to them and to those of other workers.
#[derive(Default, Debug)]
pub struct Feed {
    /// The worker's place among all.
    pub worker: usize,
    /// The places of this worker's monitors among its clients.
    pub monitors: Vec<u32>,
    /// What this worker's clients said in this turn.
    pub said: Said,
    /// Something was too long to be shown: monitors are closed, as at the hard limit of their output.
    pub too_long: bool,
}

/// Lines for monitors, in their order, each with the tenant whose monitors are shown it.
#[derive(Default, Debug)]
pub struct Said {
    lines: Vec<u8>,
    /// Whose the lines up to where are.
    ends: Vec<(Arc<str>, usize)>,
}

impl Said {
    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// What a tenant's clients said, piece by piece.
    pub fn of<'a>(&'a self, tenant: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        let pieces = self.ends.iter().zip(starts);
        pieces
            .filter(move |((whose, _), _)| **whose == *tenant)
            .filter_map(|((_, end), start)| self.lines.get(start..*end))
    }

    /// What was put behind the lines is this tenant's.
    fn end(&mut self, tenant: &Arc<str>) {
        let len = self.lines.len();
        match self.ends.last_mut() {
            Some((last, end)) if last == tenant => *end = len,
            _ => self.ends.push((Arc::clone(tenant), len)),
        }
    }
}

/// `MONITOR`. As with the servers, a client that does so already gets no reply.
pub(super) fn start(client: &mut Client, turn: &mut Turn<'_>) {
    let subscriptions = client.subscriptions.get_or_insert_with(|| Box::new(Subscriptions::new(turn.now)));
    if !std::mem::replace(&mut subscriptions.monitors, true) {
        turn.feed.monitors.push(turn.key);
        if let Some(tenant) = client.session.login().tenant_name() {
            turn.shared.monitors.add(turn.feed.worker, Arc::clone(tenant));
        }
        client.answer(b"+OK\r\n", turn.spares);
    }
}

/// RESET.
pub(super) fn stop(client: &mut Client, turn: &mut Turn<'_>) {
    if let Some(subscriptions) = &mut client.subscriptions
        && std::mem::take(&mut subscriptions.monitors)
    {
        turn.feed.monitors.retain(|key| *key != turn.key);
    }
}

/// What a monitor may not say, in the servers' words: to them it is a kind of replica.
///
/// # Errors
/// Where it touches the keyspace.
pub(super) fn restrict(client: &Client, spec: &Spec) -> Result<(), Refusal> {
    let is_monitor = client.subscriptions.as_ref().is_some_and(|subscriptions| subscriptions.monitors);
    let touches = [Flags::WRITE, Flags::READONLY, Flags::MAY_REPLICATE];
    if is_monitor && touches.iter().any(|flag| spec.flags.contains(*flag)) {
        return Err(Refusal::Keys("ERR Replica can't interact with the keyspace"));
    }
    Ok(())
}

/// Writes down a request that was handled; `refusal` where its answer is an error of ours. What the servers
/// reject before they run it is not shown, nor what they hide.
pub(super) fn note(client: &Client, request: &Request<'_>, refusal: Option<&Refusal>, turn: &mut Turn<'_>) {
    let Some(tenant) = client.session.login().tenant_name() else { return };
    if !turn.shared.monitors.watches(tenant) {
        return;
    }
    let Lookup::Found(spec) = turn.commands.find(request) else { return };
    let hidden = [Flags::ADMIN, Flags::SKIP_MONITOR].iter().any(|flag| spec.flags.contains(*flag));
    let is_local = matches!(spec.treatment, Treatment::Local(_));
    let ran = is_local && spec.takes(request.len()) && (client.session.is_logged_in() || is_login(spec));
    let rejected = match refusal {
        None => false,
        Some(Refusal::SubscribersOnly { .. }) => true,
        Some(_) => !ran,
    };
    if hidden || rejected {
        return;
    }
    if request.frame().len() > turn.shared.marks.pubsub_hard {
        turn.feed.too_long = true;
        return;
    }
    let said = &mut turn.feed.said;
    write(&mut said.lines, &client.session, spec, request, (turn.shared.process.wall_clock)());
    said.end(tenant);
}

fn is_login(spec: &Spec) -> bool {
    matches!(spec.treatment, Treatment::Local(Local::Auth | Local::Hello))
}

/// `+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`
fn write(lines: &mut Vec<u8>, session: &Session, spec: &Spec, request: &Request<'_>, micros: u64) {
    let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
    let mut head = String::new();
    let _a_string_takes_all = write!(head, "+{seconds}.{rest:06} [{} {}]", session.database, session.peer);
    lines.extend_from_slice(head.as_bytes());
    let mut secret = 0;
    for (index, argument) in request.args_from(0).enumerate() {
        lines.extend_from_slice(b" \"");
        if secret > 0 {
            secret -= 1;
            lines.extend_from_slice(b"(redacted)");
        } else {
            quote(lines, argument);
            secret = secrets_behind(spec, index, argument);
        }
        lines.push(b'"');
    }
    lines.extend_from_slice(b"\r\n");
}

/// How many arguments behind this one are a user and a password.
fn secrets_behind(spec: &Spec, index: usize, argument: &[u8]) -> usize {
    match spec.treatment {
        Treatment::Local(Local::Auth) if index == 0 => usize::MAX,
        Treatment::Local(Local::Hello) if index > 1 && argument.eq_ignore_ascii_case(b"auth") => 2,
        _ => 0,
    }
}

/// As the servers show strings.
fn quote(lines: &mut Vec<u8>, argument: &[u8]) {
    for &byte in argument {
        match byte {
            b'\\' | b'"' => lines.extend_from_slice(&[b'\\', byte]),
            b'\n' => lines.extend_from_slice(b"\\n"),
            b'\r' => lines.extend_from_slice(b"\\r"),
            b'\t' => lines.extend_from_slice(b"\\t"),
            0x07 => lines.extend_from_slice(b"\\a"),
            0x08 => lines.extend_from_slice(b"\\b"),
            b' '..=b'~' => lines.push(byte),
            _ => lines.extend_from_slice(&[
                b'\\',
                b'x',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
        }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenant_is_shown_its_own_lines_in_their_order() {
        let mut said = Said::default();
        for (tenant, line) in [("a", "1"), ("a", "2"), ("b", "3"), ("a", "4")] {
            said.lines.extend_from_slice(line.as_bytes());
            said.end(&tenant.into());
        }
        assert_eq!(said.of("a").collect::<Vec<_>>(), [b"12".as_slice(), b"4"]);
        assert_eq!(said.of("b").collect::<Vec<_>>(), [b"3"]);
        assert_eq!(said.of("c").count(), 0);
    }

    #[test]
    fn bytes_are_shown_as_the_servers_show_them() {
        let mut lines = Vec::new();
        quote(&mut lines, b"a\\\"\r\n\t\x07\x08\x00\x7f\xff ~");
        assert_eq!(lines, br#"a\\\"\r\n\t\a\b\x00\x7f\xff ~"#);
    }
}
