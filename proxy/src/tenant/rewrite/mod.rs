//! A request of a client in a namespace as its servers get it: a new canonical frame, in which what names a key or a
//! channel has the prefix. Where names stand is never guessed: the command's reviewed row says it, and its key specs.

mod options;
mod scripts;

use std::borrow::Cow;
use std::ops::Range;

use thiserror::Error;

use super::channels::{self, BadChannel};
use super::namespace::{Namespace, Prefix};
use super::script::Names;
use crate::command::key_count::KeysError;
use crate::command::keys;
use crate::command::reviewed::{Asks, InNamespace, Unsafe};
use crate::command::spec::Spec;
use crate::resp::request::{ArgRange, Request};

/// Longest name that gets a prefix. Far above what anybody calls a key, and below where the servers close a connection,
/// which others share.
const LONGEST_NAME: usize = 16 << 20;

/// Room that is kept from one request to the next.
const KEPT: usize = 64 << 10;

/// Who asks: a namespace, and the database that its client selected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asker {
    /// Whose names they are.
    pub namespace: Namespace,
    /// Below [`Namespace::databases`].
    pub database: u16,
}

impl Asker {
    /// What its keys begin with.
    #[must_use]
    pub fn prefix(&self) -> Prefix {
        self.namespace.prefix(self.database)
    }
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rewriting {
    /// It carries no name: it goes as it is.
    Unchanged,
    /// [`Rewriter::request`] is the request.
    Changed,
    /// The same, and it is another command now.
    Renamed,
}

/// Why a request is not served. Where the servers refuse the same, in their words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Unwritable {
    /// Its command is refused in a namespace.
    #[error("refused in a namespace")]
    Refused(Unsafe),
    /// Its count of keys is impossible.
    #[error("its count of keys is impossible")]
    Keys(KeysError),
    /// Its options are none that are known, or no key is where one must be.
    #[error("syntax error")]
    Syntax,
    /// A channel that can't be one of the namespace.
    #[error("{0}")]
    Channel(BadChannel),
    /// A name that is too long to get a prefix.
    #[error("a name is too long")]
    TooLong,
    /// What should be the number of a database is none.
    #[error("value is not an integer or out of range")]
    NotAnInteger,
    /// There is no such database.
    #[error("DB index is out of range")]
    NoDatabase,
    /// MOVE to where the key is.
    #[error("source and destination objects are the same")]
    SameObject,
}

/// Writes requests anew, one at a time, into memory of its own.
#[derive(Default, Debug)]
pub struct Rewriter {
    frame: Vec<u8>,
    argv: Vec<ArgRange>,
    /// The arguments that get a prefix.
    named: Vec<usize>,
}

impl Rewriter {
    /// Rewrites a request of `spec`, whose number of arguments was checked. A script that it says is noted in `names`.
    ///
    /// # Errors
    /// Where it is not served.
    pub fn rewrite(
        &mut self,
        asker: &Asker,
        spec: &Spec,
        request: &Request<'_>,
        names: &Names,
    ) -> Result<Rewriting, Unwritable> {
        let asks = match spec.in_namespace {
            InNamespace::Served { asks, .. } => asks,
            InNamespace::Refused(why) => return Err(Unwritable::Refused(why)),
        };
        match asks {
            Asks::Nothing | Asks::All(_) | Asks::Exist | Asks::Forget | Asks::Log => {
                return Ok(Rewriting::Unchanged);
            }
            Asks::Body => self.write_body(asker, spec, request, names)?,
            Asks::Called => self.write_called(asker, spec, request, names)?,
            Asks::Load => self.write_load(asker, request, names),
            Asks::Keys | Asks::AnyKeys => {
                self.find_keys(spec, request)?;
                if self.named.is_empty() {
                    return if asks == Asks::AnyKeys { Ok(Rewriting::Unchanged) } else { Err(keyless(spec)) };
                }
                self.write_named(asker, request)?;
            }
            Asks::SecondArgument => {
                self.mark([2]);
                self.write_named(asker, request)?;
            }
            Asks::Streams => {
                let streams = options::streams(request).ok_or(Unwritable::Syntax)?;
                self.mark(streams);
                self.write_named(asker, request)?;
            }
            Asks::Sort => {
                self.mark([]);
                options::sort(request, &mut self.named).ok_or(Unwritable::Syntax)?;
                self.write_named(asker, request)?;
            }
            Asks::Copy => self.write_copy(asker, request)?,
            Asks::Move => {
                self.write_move(asker, request)?;
                return Ok(Rewriting::Renamed);
            }
            Asks::Scan => self.write_scan(asker, request)?,
            Asks::Channel => self.write_channels(asker, request, 1..2, channels::published)?,
            Asks::Channels(from) | Asks::Patterns(from) => {
                self.write_channels(asker, request, usize::from(from)..request.len(), channels::outgoing)?;
            }
            Asks::OnePattern => self.write_pattern(asker, request)?,
            Asks::Prefixes => self.write_tracking(asker, request)?,
        }
        Ok(Rewriting::Changed)
    }

    /// The request that was written last.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        Request::new(&self.frame, &self.argv)
    }

    /// Gives back what a large request took.
    pub fn rest(&mut self) {
        if self.frame.capacity() > KEPT {
            *self = Self::default();
        }
    }

    fn mark(&mut self, named: impl IntoIterator<Item = usize>) {
        self.named.clear();
        self.named.extend(named);
    }

    fn find_keys(&mut self, spec: &Spec, request: &Request<'_>) -> Result<(), Unwritable> {
        let positions = keys::positions(spec, request).map_err(Unwritable::Keys)?;
        self.mark(positions);
        if !self.named.is_sorted() {
            self.named.sort_unstable();
        }
        Ok(())
    }

    /// Writes the request with the prefix in front of the arguments that are marked, which are in order.
    fn write_named(&mut self, asker: &Asker, request: &Request<'_>) -> Result<(), Unwritable> {
        self.begin(request.len());
        self.write_arguments(asker, request, None)
    }

    /// Writes the arguments so, and one that is not marked as `instead` says.
    fn write_arguments(
        &mut self,
        asker: &Asker,
        request: &Request<'_>,
        instead: Option<(usize, &[u8])>,
    ) -> Result<(), Unwritable> {
        let prefix = asker.prefix();
        let named = std::mem::take(&mut self.named);
        let mut next = named.iter().copied().peekable();
        let mut write = |index| {
            if next.next_if_eq(&index).is_some() {
                return self.name(&prefix, request, index);
            }
            match instead {
                Some((place, argument)) if place == index => self.push(&[argument]),
                _ => self.keep(request, index),
            }
            Ok(())
        };
        let written = (0..request.len()).try_for_each(&mut write);
        self.named = named;
        written
    }

    fn write_channels(
        &mut self,
        asker: &Asker,
        request: &Request<'_>,
        channels: Range<usize>,
        outgoing: impl for<'n> Fn(&Namespace, &'n [u8]) -> Result<Cow<'n, [u8]>, BadChannel>,
    ) -> Result<(), Unwritable> {
        self.begin(request.len());
        for index in 0..request.len() {
            if !channels.contains(&index) {
                self.keep(request, index);
                continue;
            }
            let name = request.arg(index).unwrap_or_default();
            check_length(name)?;
            self.push(&[&outgoing(&asker.namespace, name).map_err(Unwritable::Channel)?]);
        }
        Ok(())
    }

    /// PUBSUB CHANNELS, whose pattern may be missing.
    fn write_pattern(&mut self, asker: &Asker, request: &Request<'_>) -> Result<(), Unwritable> {
        let pattern = request.arg(2).unwrap_or(b"*");
        check_length(pattern)?;
        self.begin(request.len().max(3));
        self.keep(request, 0);
        self.keep(request, 1);
        self.push(&[asker.namespace.channel_prefix().as_bytes(), pattern]);
        (3..request.len()).for_each(|index| self.keep(request, index));
        Ok(())
    }

    fn begin(&mut self, argc: usize) {
        self.frame.clear();
        self.argv.clear();
        self.head(b'*', argc);
    }

    fn head(&mut self, kind: u8, number: usize) {
        use std::io::Write as _;
        self.frame.push(kind);
        let _a_vec_takes_all = write!(self.frame, "{number}\r\n");
    }

    /// Takes over an argument as it is.
    fn keep(&mut self, request: &Request<'_>, index: usize) {
        let raw = request.raw_arg(index);
        let len = request.arg(index).unwrap_or_default().len();
        self.frame.extend_from_slice(raw);
        self.note(len);
    }

    fn name(&mut self, prefix: &Prefix, request: &Request<'_>, index: usize) -> Result<(), Unwritable> {
        let name = request.arg(index).unwrap_or_default();
        check_length(name)?;
        self.push(&[prefix.as_bytes(), name]);
        Ok(())
    }

    /// Adds an argument of these parts.
    fn push(&mut self, parts: &[&[u8]]) {
        let len = parts.iter().map(|part| part.len()).sum();
        self.head(b'$', len);
        parts.iter().for_each(|part| self.frame.extend_from_slice(part));
        self.frame.extend_from_slice(b"\r\n");
        self.note(len);
    }

    /// Notes where the argument lies that was just written, its end included.
    fn note(&mut self, len: usize) {
        let start = self.frame.len() - 2 - len;
        self.argv.push(ArgRange { start: start as u32, len: len as u32 });
    }
}

fn check_length(name: &[u8]) -> Result<(), Unwritable> {
    if name.len() > LONGEST_NAME { Err(Unwritable::TooLong) } else { Ok(()) }
}

/// What is said of a request without the keys that it must have: the servers say of a count of 0 what they say of one
/// below it.
fn keyless(spec: &Spec) -> Unwritable {
    let counted = KeysError::is_counted(spec);
    if counted { Unwritable::Keys(KeysError::Negative) } else { Unwritable::Syntax }
}

#[cfg(test)]
mod tests;
