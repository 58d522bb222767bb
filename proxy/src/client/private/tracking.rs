//! CLIENT TRACKING: what a client asked for, and how far its connections are told. Pure.

use super::super::connection::Client;
use super::super::dispatch::Turn;
use super::super::spares::Spares;
use crate::cluster::slot_map::Generation;
use crate::refusal::{Refusal, printable};
use crate::resp::protocol::Protocol;
use crate::resp::reply_writer::ReplyWriter;
use crate::resp::request::Request;

/// A client's tracking, from CLIENT TRACKING ON to OFF. While it lasts every key of the client is read and written
/// over connections of its own, each of which was told to track before its first request.
#[derive(Debug)]
pub struct Tracking {
    pub(super) options: Options,
    /// Since when, in milliseconds of the worker's clock.
    pub(super) since: u64,
    /// The slot map that its connections were looked at by.
    pub(super) generation: Generation,
    /// It was answered OK.
    pub(super) confirmed: bool,
    /// A connection that tracked is gone: the client is to forget all it knows.
    pub(super) forget: bool,
    /// BCAST: when it is next looked whether every primary is told; [`u64::MAX`] once all are.
    pub(super) due: u64,
    /// Invalidations that came while a reply was being written in pieces: they go out behind it.
    pub(in super::super) held: Vec<u8>,
}

/// What stands behind CLIENT TRACKING ON.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Options {
    pub(super) bcast: bool,
    pub(super) noloop: bool,
    pub(super) prefixes: Vec<Box<[u8]>>,
}

/// Tells the client to forget every key.
pub(super) const FORGET_ALL: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";
/// Bytes of prefixes that one client may have kept and each of its connections told.
const MOST_PREFIX_BYTES: usize = 64 * 1024;

impl Tracking {
    pub(super) fn new(options: Options, now: u64, generation: Generation) -> Self {
        let confirmed = !options.bcast;
        let (due, held) = (u64::MAX, Vec::new());
        Self { options, since: now, generation, confirmed, forget: false, due, held }
    }

    /// A connection that tracked is gone.
    pub(super) fn note_untracked(&mut self) {
        self.forget = true;
        self.due = if self.options.bcast { 0 } else { u64::MAX };
    }

    /// Whether every primary is told, of changes to any key.
    pub(in super::super) fn is_broadcast(&self) -> bool {
        self.options.bcast
    }
}

impl Options {
    /// CLIENT TRACKING's arguments from the third on: `None` for OFF.
    ///
    /// # Errors
    /// As the servers say it, in their order; and what is not served.
    pub(super) fn parse(request: &Request<'_>, own: Option<&Self>) -> Result<Option<Self>, Refusal> {
        let (mut wanted, mut opt) = (Self::default(), [false; 2]);
        let mut index = 3;
        while let Some(option) = request.arg(index) {
            let next = request.arg(index + 1);
            match (option.to_ascii_lowercase().as_slice(), next) {
                (b"redirect", Some(_)) => return Err(Refusal::TrackingRedirect),
                (b"bcast", _) => wanted.bcast = true,
                (b"noloop", _) => wanted.noloop = true,
                (b"optin", _) => opt[0] = true,
                (b"optout", _) => opt[1] = true,
                (b"prefix", Some(prefix)) => {
                    wanted.prefixes.push(prefix.into());
                    index += 1;
                }
                _ => return Err(Refusal::Syntax),
            }
            index += 1;
        }
        match request.arg(2).unwrap_or_default().to_ascii_lowercase().as_slice() {
            b"off" => Ok(None),
            b"on" => wanted.checked(opt, own).map(Some),
            _ => Err(Refusal::Syntax),
        }
    }

    /// Checks what fits together, in the servers' order; adds the prefixes that there are already.
    fn checked(mut self, [opt_in, opt_out]: [bool; 2], own: Option<&Self>) -> Result<Self, Refusal> {
        const SWITCH: &str = "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and \
                              then re-enabling it with a different mode.";
        if !self.bcast && !self.prefixes.is_empty() {
            return Err(Refusal::Keys("ERR PREFIX option requires BCAST mode to be enabled"));
        }
        if own.is_some_and(|own| own.bcast != self.bcast) {
            return Err(Refusal::Keys(SWITCH));
        }
        if self.bcast && (opt_in || opt_out) {
            return Err(Refusal::Keys("ERR OPTIN and OPTOUT are not compatible with BCAST"));
        }
        if opt_in && opt_out {
            return Err(Refusal::Keys("ERR You can't specify both OPTIN mode and OPTOUT mode"));
        }
        if opt_in || opt_out {
            return Err(Refusal::TrackingOpt);
        }
        if !self.bcast {
            return Ok(self);
        }
        let existing = own.map_or(&[][..], |own| &own.prefixes);
        let collide = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
        for (index, prefix) in self.prefixes.iter().enumerate() {
            if let Some(other) = existing.iter().find(|other| collide(prefix, other)) {
                return Err(overlap(prefix, "an existing prefix", other));
            }
            if let Some(other) = self.prefixes[index + 1..].iter().find(|other| collide(prefix, other)) {
                return Err(overlap(prefix, "another provided prefix", other));
            }
        }
        if self.prefixes.is_empty() {
            self.prefixes.push(Box::default());
        }
        for other in existing {
            if !self.prefixes.contains(other) {
                self.prefixes.push(other.clone());
            }
        }
        if self.prefixes.iter().map(|prefix| prefix.len() + 16).sum::<usize>() > MOST_PREFIX_BYTES {
            return Err(Refusal::TrackingPrefixes);
        }
        Ok(self)
    }

    /// What a connection is told.
    pub(super) fn frame(&self) -> Vec<u8> {
        // The empty prefix beside others can be told only by leaving it out, in a command of its own; it means
        // every key, so the others mean nothing beside it.
        let all = self.prefixes.iter().any(|prefix| prefix.is_empty());
        let prefixes = if all { &[][..] } else { &self.prefixes };
        let mut frame = Vec::new();
        let mut writer = ReplyWriter::new(&mut frame, Protocol::Resp2);
        writer.array(3 + usize::from(self.bcast) + usize::from(self.noloop) + 2 * prefixes.len());
        ["CLIENT", "TRACKING", "ON"].iter().for_each(|word| writer.bulk(word));
        if self.bcast {
            writer.bulk("BCAST");
        }
        if self.noloop {
            writer.bulk("NOLOOP");
        }
        for prefix in prefixes {
            writer.bulk("PREFIX");
            writer.bulk(prefix);
        }
        frame
    }
}

fn overlap(prefix: &[u8], which: &str, other: &[u8]) -> Refusal {
    let (prefix, other) = (printable(prefix, 64), printable(other, 64));
    Refusal::Said(format!(
        "ERR Prefix '{prefix}' overlaps with {which} '{other}'. Prefixes for a single client must not overlap."
    ))
}

/// CLIENT TRACKINGINFO.
pub(super) fn write_info(own: Option<&Tracking>, writer: &mut ReplyWriter<'_>) {
    let mut flags = vec![if own.is_some() { "on" } else { "off" }];
    flags.extend(own.filter(|own| own.options.bcast).map(|_| "bcast"));
    flags.extend(own.filter(|own| own.options.noloop).map(|_| "noloop"));
    writer.map(3);
    writer.bulk("flags");
    writer.set(flags.len());
    flags.iter().for_each(|flag| writer.bulk(flag));
    writer.bulk("redirect");
    writer.integer(if own.is_some() { 0 } else { -1 });
    writer.bulk("prefixes");
    let prefixes = own.map_or(&[][..], |own| &own.options.prefixes);
    writer.array(prefixes.len());
    prefixes.iter().for_each(|prefix| writer.bulk(prefix));
}

impl Client {
    pub(in super::super) fn tracking(&self) -> Option<&Tracking> {
        self.private.as_ref()?.pinned.tracking()
    }

    pub(super) fn tracking_mut(&mut self) -> Option<&mut Tracking> {
        self.private.as_mut()?.pinned.tracking_mut()
    }

    /// A connection that tracked is gone, or its node is not asked any more.
    pub(super) fn note_untracked(&mut self) {
        if let Some(tracking) = self.tracking_mut() {
            tracking.note_untracked();
        }
    }

    /// Ends tracking; its connections close, since nobody else may have what they remember.
    pub(in super::super) fn end_tracking(&mut self, turn: &Turn<'_>) {
        let Some(private) = &mut self.private else { return };
        if private.pinned.take_tracking().is_none() {
            return;
        }
        turn.metrics.pinned_tracking.sub(1);
        self.drop_connections(turn);
        self.break_watch();
        self.drop_empty_private();
    }

    /// The client speaks another protocol or uses another database from here on: it is told to forget what it
    /// knows, while it still can be.
    pub(in super::super) fn leave_tracked(&mut self, ends: bool, turn: &mut Turn<'_>) {
        if self.tracking().is_none() {
            return;
        }
        self.push_tracked(&[], FORGET_ALL, turn.spares);
        if ends {
            self.end_tracking(turn);
        } else {
            self.drop_connections(turn);
            self.break_watch();
            self.note_untracked();
            if let Some(tracking) = self.tracking_mut() {
                tracking.forget = false;
            }
        }
    }

    /// Takes an invalidation, in front of which a reply may lie in `batch`: it goes out between replies.
    pub(super) fn push_tracked(&mut self, batch: &[u8], bytes: &[u8], spares: &mut Spares) {
        let within_reply = self.within_reply;
        match self.tracking_mut() {
            Some(tracking) if within_reply => tracking.held.extend_from_slice(bytes),
            _ => self.output.push(batch, bytes, spares),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::groups::with_request;

    fn parse(line: &str, own: Option<&Options>) -> Result<Option<Options>, String> {
        let words: Vec<&str> = line.split(' ').collect();
        let mut frame = Vec::new();
        let mut writer = ReplyWriter::new(&mut frame, Protocol::Resp2);
        writer.array(words.len());
        words.iter().for_each(|word| writer.bulk(word));
        with_request(&frame, |request| {
            Some(Options::parse(request, own).map_err(|refusal| refusal.to_string()))
        })
        .expect("a request")
    }

    #[test]
    fn prefixes_add_up_and_the_empty_one_means_all() {
        let first = parse("CLIENT TRACKING ON BCAST PREFIX a", None).unwrap().unwrap();
        let second = parse("CLIENT TRACKING ON bcast NOLOOP prefix b", Some(&first)).unwrap().unwrap();
        assert_eq!(second.prefixes, [b"b".as_slice().into(), b"a".as_slice().into()]);
        let third = parse("CLIENT TRACKING ON BCAST", Some(&second)).unwrap().unwrap();
        assert_eq!(third.prefixes.len(), 3);
        assert_eq!(
            third.frame(),
            b"*4\r\n$6\r\nCLIENT\r\n$8\r\nTRACKING\r\n$2\r\nON\r\n$5\r\nBCAST\r\n".as_slice()
        );
        assert!(parse("CLIENT TRACKING ON BCAST PREFIX x", Some(&third)).unwrap_err().contains("overlaps"));
    }

    #[test]
    fn a_client_may_not_have_endless_prefixes_kept() {
        let long = "x".repeat(MOST_PREFIX_BYTES);
        assert!(parse(&format!("CLIENT TRACKING ON BCAST PREFIX {long}"), None).is_err());
    }
}
