//! What is kept of replies that come before their turn, or that are made of parts: a slot for each ticket. Pure.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use super::replies::{Drained, Expect, Piece};
use crate::route::merge::Merge;
use crate::tenant::translation::Translating;

/// A client's slots while replies may come out of order: one for each ticket that waits.
#[derive(Default, Debug)]
pub struct Reorder {
    slots: VecDeque<ReplySlot>,
    /// Replies that came early, one behind the other.
    held: Vec<u8>,
    /// How many slots are [`ReplySlot::Held`]: without one `held` starts over.
    held_slots: usize,
    /// Bytes that the other slots keep.
    kept: usize,
}

#[derive(Debug)]
enum ReplySlot {
    /// Nothing came yet, or, at the head, the pieces that came were passed on.
    Waiting,
    /// The same, of a request of this kind, see [`Expect::Alike`].
    Alike(NonZeroU32),
    /// Came whole before its turn: a range of `held`.
    Held { start: usize, len: usize },
    /// A large reply that began to come before its turn.
    Growing { bytes: Vec<u8>, complete: bool },
    /// A reply in which names lose the prefix of the client's namespace, which needs the whole of it.
    Told { alike: Option<NonZeroU32>, bytes: Vec<u8>, complete: bool, translating: Box<Translating> },
    /// Made of several parts; dropped in the end where the client doesn't want it.
    Merging { merge: Box<Merge>, muted: bool, translating: Option<Box<Translating>> },
    /// CLIENT REPLY OFF or SKIP: the reply is dropped.
    Muted { complete: bool },
}

// A pipeline has one for each request.
const _: () = assert!(size_of::<ReplySlot>() <= 40);

impl Reorder {
    /// Adds the slot of a further ticket.
    pub(super) fn push(&mut self, expect: Expect) {
        self.slots.push_back(expect.into());
    }

    /// How many tickets have a slot.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Takes a piece for the ticket at `place` and lets go what may go by it. Returns how many tickets that ends, and
    /// whether what went ended within a reply, `None` where nothing did; `None` altogether without such a ticket.
    pub(super) fn fill(
        &mut self,
        place: u32,
        piece: Piece<'_>,
        out: &mut impl FnMut(Drained<'_>),
    ) -> Option<(u32, Option<bool>)> {
        let slot = self.slots.get_mut(place as usize)?;
        let mut within = None;
        let passed_on = match slot {
            ReplySlot::Waiting | ReplySlot::Alike(_) if place == 0 => {
                out(Drained::Direct);
                within = Some(piece.more);
                !piece.more
            }
            slot => {
                self.kept -= slot.kept_bytes();
                slot.keep(piece, &mut self.held, &mut self.held_slots);
                self.kept += slot.kept_bytes();
                false
            }
        };
        if place > 0 {
            return Some((0, within));
        }
        let (drained, begun) = self.drain(passed_on, out);
        if begun || (drained > 0 && within.is_none()) {
            within = Some(begun);
        }
        Some((drained, within))
    }

    /// Whether all that waits behind the ticket at `place` is of this kind and unanswered.
    pub(super) fn has_only_alike_behind(&self, place: u32, kind: NonZeroU32) -> bool {
        let mut behind = self.slots.range((place as usize + 1).min(self.slots.len())..);
        behind.all(|slot| match slot {
            ReplySlot::Alike(other) => *other == kind,
            ReplySlot::Told { alike, bytes, .. } => *alike == Some(kind) && bytes.is_empty(),
            _ => false,
        })
    }

    /// Gets ready for another client; `None` where it grew too large to be kept.
    pub(super) fn recycle(mut self: Box<Self>, keep_bytes: usize) -> Option<Box<Self>> {
        debug_assert!(self.slots.is_empty() && self.kept == 0, "given back while replies are waited for");
        self.held.clear();
        let bytes = self.held.capacity() + self.slots.capacity() * size_of::<ReplySlot>();
        (bytes <= keep_bytes).then_some(self)
    }

    /// Lets go what is complete at the head; `head_done` where the head itself was passed on whole. Returns
    /// how many tickets that ends, and whether the next one's reply has begun to go out.
    fn drain(&mut self, head_done: bool, out: &mut impl FnMut(Drained<'_>)) -> (u32, bool) {
        let (mut drained, mut begun) = (0, false);
        if head_done {
            self.slots.pop_front();
            drained += 1;
        }
        while let Some(slot) = self.slots.front_mut() {
            let kept = slot.kept_bytes();
            match slot {
                ReplySlot::Waiting
                | ReplySlot::Alike(_)
                | ReplySlot::Told { complete: false, .. }
                | ReplySlot::Merging { .. }
                | ReplySlot::Muted { complete: false } => break,
                ReplySlot::Held { start, len } => {
                    out(Drained::Own(&self.held[*start..*start + *len]));
                    self.held_slots -= 1;
                }
                ReplySlot::Growing { bytes, complete: true }
                | ReplySlot::Told { bytes, complete: true, .. } => out(Drained::Own(bytes)),
                ReplySlot::Growing { bytes, complete: false } => {
                    // It is the head now: what comes from here on is passed on as it comes.
                    out(Drained::Own(bytes));
                    *slot = ReplySlot::Waiting;
                    self.kept -= kept;
                    begun = true;
                    break;
                }
                ReplySlot::Muted { complete: true } => {}
            }
            self.kept -= kept;
            self.slots.pop_front();
            drained += 1;
        }
        if self.held_slots == 0 {
            self.held.clear();
        }
        (drained, begun)
    }

    /// Bytes that it keeps.
    pub(super) fn held_bytes(&self) -> usize {
        self.held.len() + self.kept
    }
}

impl From<Expect> for ReplySlot {
    fn from(expect: Expect) -> Self {
        match expect {
            Expect::Plain => Self::Waiting,
            Expect::Alike(kind) => Self::Alike(kind),
            Expect::Merged { merge, muted, translating } => Self::Merging { merge, muted, translating },
            Expect::Told { alike, translating } => {
                Self::Told { alike, bytes: Vec::new(), complete: false, translating }
            }
            Expect::Nothing => Self::Muted { complete: false },
        }
    }
}

impl ReplySlot {
    /// Bytes that it keeps itself; one look, for any number of parts.
    fn kept_bytes(&self) -> usize {
        match self {
            Self::Growing { bytes, .. } | Self::Told { bytes, .. } => bytes.len(),
            Self::Merging { merge, .. } => merge.held_bytes(),
            Self::Waiting | Self::Alike(_) | Self::Held { .. } | Self::Muted { .. } => 0,
        }
    }

    /// Keeps a piece whose turn has not come, or that is a part of more.
    fn keep(&mut self, piece: Piece<'_>, held: &mut Vec<u8>, held_slots: &mut usize) {
        match self {
            Self::Waiting | Self::Alike(_) if !piece.more => {
                *self = Self::Held { start: held.len(), len: piece.bytes.len() };
                held.extend_from_slice(piece.bytes);
                *held_slots += 1;
            }
            Self::Waiting | Self::Alike(_) => {
                *self = Self::Growing { bytes: piece.bytes.to_vec(), complete: false }
            }
            Self::Growing { bytes, complete } => {
                bytes.extend_from_slice(piece.bytes);
                *complete = !piece.more;
            }
            Self::Told { bytes, complete, translating, .. } => {
                bytes.extend_from_slice(piece.bytes);
                if !piece.more {
                    *bytes = translating.told(bytes);
                    *complete = true;
                }
            }
            Self::Merging { merge, muted, translating } => {
                if merge.fill(piece.part, piece.bytes, piece.more) {
                    let merged = merge.finish();
                    let told = translating.as_ref().map(|translating| translating.told(&merged));
                    *self = match muted {
                        true => Self::Muted { complete: true },
                        false => Self::Growing { bytes: told.unwrap_or(merged), complete: true },
                    };
                }
            }
            Self::Muted { complete } => *complete = !piece.more,
            Self::Held { .. } => debug_assert!(false, "a ticket was filled twice"),
        }
    }
}
