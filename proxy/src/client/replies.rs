//! A client's reply order: tickets are opened in request order, filled in any order, drained from the head.
//!
//! Replies that come in the order they were asked for are only counted. Where one comes early, or is not plain, the
//! client borrows a [`Reorder`] from its worker's spares, and gives it back when no reply is waited for.

use std::num::NonZeroU32;

use super::reorder::Reorder;
use super::spares::Spares;
use crate::backend::in_flight::Ticket;
use crate::route::merge::Merge;
use crate::tenant::translation::Translating;

/// The replies a client still waits for.
///
/// Invariant: with a [`Reorder`] there is one slot a waiting ticket; without one all that wait are plain, but that the
/// head may be [`Expect::Alike`], and nothing of those behind the head has come.
#[derive(Default, Debug)]
pub struct Replies {
    /// The oldest ticket that is not drained.
    head: Ticket,
    /// How many tickets are open, the head included.
    open: u32,
    reorder: Option<Box<Reorder>>,
}

/// How a ticket is opened.
#[derive(Debug)]
pub enum Expect {
    /// One reply, passed on as it comes.
    Plain,
    /// The same, to a request of this kind: those of one kind may be sent again behind each other, see
    /// [`Replies::has_only_alike_behind`].
    Alike(NonZeroU32),
    /// Several parts that become one reply.
    Merged {
        /// Makes it.
        merge: Box<Merge>,
        /// The client doesn't want it.
        muted: bool,
        /// What is done to it in the end.
        translating: Option<Box<Translating>>,
    },
    /// As [`Self::Plain`], or [`Self::Alike`] with a kind; names in it lose a prefix.
    Told {
        /// The kind.
        alike: Option<NonZeroU32>,
        /// Which names.
        translating: Box<Translating>,
    },
    /// A reply that the client doesn't want.
    Nothing,
}

impl Expect {
    /// The same reply, in which names lose a prefix.
    #[must_use]
    pub fn told(self, translating: Box<Translating>) -> Self {
        match self {
            Self::Plain => Self::Told { alike: None, translating },
            Self::Alike(kind) => Self::Told { alike: Some(kind), translating },
            Self::Merged { merge, muted, .. } => {
                Self::Merged { merge, muted, translating: Some(translating) }
            }
            told @ (Self::Told { .. } | Self::Nothing) => told,
        }
    }
}

/// A part of a ticket's reply.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Its place in the reply order.
    pub ticket: Ticket,
    /// Which part, for a merged reply.
    pub part: u16,
    /// The bytes.
    pub bytes: &'a [u8],
    /// Whether further pieces of the same part follow.
    pub more: bool,
}

impl Replies {
    /// Gives the next request its place.
    #[inline]
    pub fn open(&mut self, expect: Expect, spares: &mut Spares) -> Ticket {
        let ticket = Ticket(self.head.0.wrapping_add(self.open));
        let is_counted = match expect {
            Expect::Plain => true,
            Expect::Alike(_) => self.open == 0,
            Expect::Told { .. } | Expect::Merged { .. } | Expect::Nothing => false,
        };
        if !is_counted || self.reorder.is_some() {
            self.reorder(spares).push(expect);
        }
        self.open += 1;
        self.check_invariants();
        ticket
    }

    /// Takes a piece of a reply. What may go to the client by this is given to `out`, in order: `Direct` for
    /// the piece itself, `Own` for bytes that were kept here. Returns whether what went out ended within a
    /// reply; `None` where nothing did.
    #[inline]
    pub fn fill(
        &mut self,
        piece: Piece<'_>,
        spares: &mut Spares,
        mut out: impl FnMut(Drained<'_>, &mut Spares),
    ) -> Option<bool> {
        let place = piece.ticket.0.wrapping_sub(self.head.0);
        debug_assert!(place < self.open, "ticket {place} of {}", self.open);
        if place >= self.open {
            return None;
        }
        if place > 0 || self.reorder.is_some() {
            return self.fill_slot(place, piece, spares, out);
        }
        out(Drained::Direct, spares);
        if !piece.more {
            self.advance(1);
        }
        Some(piece.more)
    }

    /// [`Self::fill`] where not every reply came in its turn.
    #[inline(never)]
    fn fill_slot(
        &mut self,
        place: u32,
        piece: Piece<'_>,
        spares: &mut Spares,
        mut out: impl FnMut(Drained<'_>, &mut Spares),
    ) -> Option<bool> {
        let reorder = self.reorder(spares);
        let (drained, within) = reorder.fill(place, piece, &mut |drained| out(drained, spares))?;
        self.advance(drained);
        if self.open == 0 {
            self.reorder.take().into_iter().for_each(|reorder| spares.give_reorder(reorder));
        }
        within
    }

    /// The reorder buffer; where there is none yet, one with a slot for each ticket that waits.
    fn reorder(&mut self, spares: &mut Spares) -> &mut Reorder {
        self.reorder.get_or_insert_with(|| {
            let mut reorder = spares.take_reorder();
            (0..self.open).for_each(|_| reorder.push(Expect::Plain));
            reorder
        })
    }

    /// Whether the reply to this request is still to go out, wholly or in part.
    #[must_use]
    pub fn is_open(&self, ticket: Ticket) -> bool {
        ticket.0.wrapping_sub(self.head.0) < self.open
    }

    /// Whether what the client asked behind this request is of its kind throughout, and unanswered: all of it may
    /// then be sent again in its order, and nothing has overtaken this one.
    #[must_use]
    pub fn has_only_alike_behind(&self, ticket: Ticket, kind: NonZeroU32) -> bool {
        let place = ticket.0.wrapping_sub(self.head.0);
        // Without slots all that is behind is plain.
        let Some(reorder) = &self.reorder else { return place.checked_add(1) == Some(self.open) };
        place < self.open && reorder.has_only_alike_behind(place, kind)
    }

    /// How many replies are still waited for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open as usize
    }

    /// Whether no reply is waited for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// How many requests were answered so far, and how many begun: numbers that go round.
    #[must_use]
    pub fn ends(&self) -> (u32, u32) {
        (self.head.0, self.head.0.wrapping_add(self.open))
    }

    /// Bytes of replies that came before their turn.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.reorder.as_ref().map_or(0, |reorder| reorder.held_bytes())
    }

    fn advance(&mut self, tickets: u32) {
        self.head.0 = self.head.0.wrapping_add(tickets);
        self.open -= tickets;
        self.check_invariants();
    }

    fn check_invariants(&self) {
        debug_assert!(
            self.reorder.as_ref().is_none_or(|reorder| reorder.len() == self.open as usize),
            "{} tickets open without their slots",
            self.open
        );
    }
}

/// What [`Replies::fill`] lets go.
#[derive(Clone, Copy, Debug)]
pub enum Drained<'a> {
    /// The piece that was given.
    Direct,
    /// Bytes that were kept until now.
    Own(&'a [u8]),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::reviewed::Tells;
    use crate::config::tenants::{NamespaceId, NamespaceSettings, Placement};
    use crate::tenant::namespace::Namespace;
    use crate::tenant::translation::Translation;

    struct Client {
        replies: Replies,
        spares: Spares,
        out: Vec<u8>,
    }

    impl Client {
        fn new() -> Self {
            Self { replies: Replies::default(), spares: Spares::default(), out: Vec::new() }
        }

        fn open(&mut self, expect: Expect) -> Ticket {
            self.replies.open(expect, &mut self.spares)
        }

        fn fill(&mut self, ticket: Ticket, bytes: &[u8], more: bool) {
            let Self { replies, spares, out } = self;
            let piece = Piece { ticket, part: 0, bytes, more };
            replies.fill(piece, spares, |drained, _| match drained {
                Drained::Direct => out.extend_from_slice(bytes),
                Drained::Own(own) => out.extend_from_slice(own),
            });
        }
    }

    #[test]
    fn replies_leave_in_request_order_whatever_order_they_come_in() {
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
            let mut client = Client::new();
            let tickets: Vec<_> = (0..4).map(|_| client.open(Expect::Plain)).collect();
            for i in order {
                client.fill(tickets[i], format!("{i};").as_bytes(), false);
            }
            assert_eq!(client.out, b"0;1;2;3;");
            assert!(client.replies.is_empty() && client.replies.reorder.is_none());
        }
    }

    #[test]
    fn replies_that_come_in_order_need_no_memory() {
        let mut client = Client::new();
        for _ in 0..10 {
            let tickets = [0; 4].map(|_| client.open(Expect::Plain));
            for ticket in tickets {
                client.fill(ticket, b"+", true);
                client.fill(ticket, b"-", false);
                assert!(client.replies.reorder.is_none());
            }
        }
        assert_eq!(client.out, b"+-".repeat(40));
    }

    #[test]
    fn a_reply_that_overtakes_others_waits_for_all_of_them() {
        let mut client = Client::new();
        let tickets = [0; 4].map(|_| client.open(Expect::Plain));
        client.fill(tickets[0], b"0", false);
        client.fill(tickets[3], b"3", false);
        let last = client.open(Expect::Plain);
        client.fill(tickets[1], b"1", false);
        client.fill(last, b"4", false);
        assert_eq!(client.out, b"01");
        client.fill(tickets[2], b"2", false);
        assert_eq!(client.out, b"01234");
        assert!(client.replies.is_empty() && client.replies.reorder.is_none());
    }

    #[test]
    fn everything_that_is_kept_counts_until_it_leaves() {
        use crate::command::spec::Merge as Policy;
        use crate::resp::protocol::Protocol;
        use crate::route::merge::MergeKind;

        let mut client = Client::new();
        let first = client.open(Expect::Plain);
        let merge = Box::new(Merge::new(MergeKind::Policy(Policy::AllSucceeded), 1, Protocol::Resp2));
        let merged = client.open(Expect::Merged { merge, muted: false, translating: None });
        let (large, small) = (client.open(Expect::Plain), client.open(Expect::Plain));
        client.fill(merged, b"me", true);
        client.fill(large, b"large", true);
        client.fill(small, b"s", false);
        assert_eq!(client.replies.held_bytes(), 8);
        client.fill(merged, b"rged", false);
        assert_eq!(client.replies.held_bytes(), 12, "what the parts became");
        client.fill(first, b"first", false);
        assert_eq!((&client.out[..], client.replies.held_bytes()), (&b"firstmergedlarge"[..], 1));
        client.fill(large, b"!", false);
        assert_eq!((&client.out[16..], client.replies.held_bytes()), (&b"!s"[..], 0));
    }

    fn told(tells: Tells) -> Box<Translating> {
        let settings = NamespaceSettings {
            id: NamespaceId::parse("k3m9x2ab").expect("an id"),
            placement: Placement::Spread,
            databases: 1,
        };
        let namespace = Namespace::new(settings);
        Box::new(Translating { namespace, translation: Translation::Of(tells) })
    }

    #[test]
    fn names_lose_their_prefix_once_the_reply_is_whole() {
        let kind = NonZeroU32::MIN;
        let mut client = Client::new();
        let first = client.open(Expect::Alike(kind).told(told(Tells::First)));
        let second = client.open(Expect::Plain.told(told(Tells::Name)));
        assert!(!client.replies.has_only_alike_behind(first, kind));
        client.fill(second, b"$10\r\nk3m9x2ab:b\r\n", false);
        client.fill(first, b"*2\r\n$10\r\nk3m9", true);
        assert_eq!((&client.out[..], client.replies.held_bytes()), (&b""[..], 20));
        client.fill(first, b"x2ab:a\r\n:1\r\n", false);
        assert_eq!(client.out, b"*2\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n");
        assert_eq!(client.replies.held_bytes(), 0);
        let muted = client.open(Expect::Nothing.told(told(Tells::Name)));
        client.fill(muted, b"+x\r\n", false);
        assert!(client.replies.is_empty() && client.out.ends_with(b"b\r\n"));
    }

    #[test]
    fn what_stands_behind_a_request_is_told() {
        let (kind, other) = (NonZeroU32::MIN, NonZeroU32::MAX);
        let mut client = Client::new();
        let first = client.open(Expect::Alike(kind));
        assert!(client.replies.has_only_alike_behind(first, kind), "alone");
        let second = client.open(Expect::Alike(kind));
        assert!(client.replies.has_only_alike_behind(first, kind));
        assert!(!client.replies.has_only_alike_behind(first, other));
        assert!(client.replies.has_only_alike_behind(second, other), "nothing is behind it");
        client.fill(second, b"2", false);
        assert!(!client.replies.has_only_alike_behind(first, kind), "it was overtaken");
        client.fill(first, b"1", false);
        assert_eq!(client.out, b"12");
        assert!(!client.replies.has_only_alike_behind(first, kind), "over");
        let third = client.open(Expect::Alike(kind));
        let fourth = client.open(Expect::Plain);
        assert!(!client.replies.has_only_alike_behind(third, kind));
        assert!(client.replies.has_only_alike_behind(fourth, kind), "nothing is behind it");
        let fifth = client.open(Expect::Alike(kind));
        assert!(!client.replies.has_only_alike_behind(third, kind));
        assert!(client.replies.has_only_alike_behind(fourth, kind));
        client.fill(fifth, b"5", false);
        assert!(!client.replies.has_only_alike_behind(fourth, kind), "it was overtaken");
    }

    #[test]
    fn a_large_reply_streams_once_it_is_at_the_head() {
        let mut client = Client::new();
        let (first, second) = (client.open(Expect::Plain), client.open(Expect::Plain));
        client.fill(second, b"b1", true);
        assert_eq!(client.out, b"");
        client.fill(first, b"a1", true);
        client.fill(first, b"a2", false);
        assert_eq!(client.out, b"a1a2b1");
        client.fill(second, b"b2", true);
        client.fill(second, b"b3", false);
        assert_eq!(client.out, b"a1a2b1b2b3");
        assert!(client.replies.is_empty());
    }

    #[test]
    fn unwanted_replies_are_dropped_in_their_place() {
        let mut client = Client::new();
        let tickets = [Expect::Plain, Expect::Nothing, Expect::Plain].map(|expect| client.open(expect));
        client.fill(tickets[2], b"c", false);
        client.fill(tickets[1], b"b", false);
        client.fill(tickets[0], b"a", false);
        assert_eq!(client.out, b"ac");
    }
}
