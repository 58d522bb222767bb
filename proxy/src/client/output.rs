//! What is to be written to a client: nothing, a range of the read buffer that its replies lie in, or bytes
//! of its own. A reply that can be written at once is thus never copied.

use std::ops::Range;

use super::spares::Spares;

/// Replies on their way out, in order. Small, since every idle client has one: what is not empty is borrowed
/// from the worker.
///
/// Invariant: `range` is empty where there are own bytes; it means something only until the batch ends.
#[derive(Default, Debug)]
pub struct Output {
    /// Never without a byte that is to be sent.
    own: Option<Box<Own>>,
    /// A range of the batch's buffer.
    range: Range<u32>,
}

/// A client's own copy of replies.
#[derive(Default, Debug)]
pub struct Own {
    bytes: Vec<u8>,
    /// How many of them were written.
    sent: usize,
}

impl Output {
    /// Adds a range of `batch`, the buffer of this batch.
    pub fn push_range(&mut self, batch: &[u8], range: Range<usize>, spares: &mut Spares) {
        let (start, end) = (range.start as u32, range.end as u32);
        if let Some(own) = &mut self.own {
            own.bytes.extend_from_slice(&batch[range]);
        } else if self.range.is_empty() {
            self.range = start..end;
        } else if self.range.end == start {
            self.range.end = end;
        } else {
            self.push(batch, &batch[range], spares);
        }
    }

    /// Adds bytes that lie anywhere.
    pub fn push(&mut self, batch: &[u8], bytes: &[u8], spares: &mut Spares) {
        self.keep(batch, spares);
        if !bytes.is_empty() {
            self.own.get_or_insert_with(|| spares.take_own()).bytes.extend_from_slice(bytes);
        }
    }

    /// What is to be written now.
    #[must_use]
    pub fn unsent<'a>(&'a self, batch: &'a [u8]) -> &'a [u8] {
        match &self.own {
            None => &batch[self.range.start as usize..self.range.end as usize],
            Some(own) => &own.bytes[own.sent..],
        }
    }

    /// Notes that `count` bytes of [`Self::unsent`] were written.
    pub fn advance(&mut self, count: usize, spares: &mut Spares) {
        let Some(own) = &mut self.own else {
            self.range.start += count as u32;
            return;
        };
        own.sent += count;
        if own.sent == own.bytes.len() {
            self.own.take().into_iter().for_each(|own| spares.give_own(own));
        } else if own.sent >= COMPACT_ABOVE && own.sent * 2 >= own.bytes.len() {
            own.bytes.drain(..own.sent);
            own.sent = 0;
        }
    }

    /// The batch's buffer goes away: what was not written becomes our own.
    pub fn keep(&mut self, batch: &[u8], spares: &mut Spares) {
        if !self.range.is_empty() {
            debug_assert!(self.own.is_none(), "a range behind own bytes");
            let own = self.own.get_or_insert_with(|| spares.take_own());
            own.bytes.extend_from_slice(&batch[self.range.start as usize..self.range.end as usize]);
        }
        self.range = 0..0;
    }

    /// Whether everything was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.own.is_none() && self.range.is_empty()
    }

    /// Bytes of memory that it holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.own.as_ref().map_or(0, |own| own.bytes.capacity())
    }

    /// Bytes to be written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.own.as_ref().map_or(0, |own| own.bytes.len() - own.sent) + self.range.len()
    }
}

impl Own {
    /// Gets ready for another client; `None` where it grew too large to be kept, or holds no memory.
    pub(super) fn recycle(mut self: Box<Self>, keep_bytes: usize) -> Option<Box<Self>> {
        self.bytes.clear();
        self.sent = 0;
        (1..=keep_bytes).contains(&self.bytes.capacity()).then_some(self)
    }
}

// Below this, moving the rest to the front costs more than the room is worth.
const COMPACT_ABOVE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_ranges_are_written_as_one_without_a_copy() {
        let (mut output, mut spares) = (Output::default(), Spares::default());
        let batch = b"aaabbbccc";
        output.push_range(batch, 0..3, &mut spares);
        output.push_range(batch, 3..6, &mut spares);
        assert_eq!(output.unsent(batch), b"aaabbb");
        assert!(output.own.is_none());
        output.advance(6, &mut spares);
        assert!(output.is_empty());
    }

    #[test]
    fn what_is_apart_is_put_together_in_order() {
        let (mut output, mut spares) = (Output::default(), Spares::default());
        let batch = b"aaabbbccc";
        output.push_range(batch, 0..3, &mut spares);
        output.push_range(batch, 6..9, &mut spares);
        output.push(batch, b"x", &mut spares);
        output.push_range(batch, 3..6, &mut spares);
        assert_eq!(output.unsent(batch), b"aaacccxbbb");
    }

    #[test]
    fn nothing_is_nothing_to_be_written() {
        let (mut output, mut spares) = (Output::default(), Spares::default());
        output.push(b"", b"", &mut spares);
        output.push_range(b"abc", 1..1, &mut spares);
        assert!(output.is_empty());
        output.push(b"", b"x", &mut spares);
        output.push(b"", b"", &mut spares);
        assert_eq!(output.unsent(b""), b"x");
    }

    #[test]
    fn what_was_borrowed_is_given_back_and_used_again_empty() {
        let (mut output, mut spares) = (Output::default(), Spares::default());
        output.push(b"", b"abc", &mut spares);
        output.advance(1, &mut spares);
        output.advance(2, &mut spares);
        assert!(output.is_empty() && output.capacity() == 0);
        output.push(b"", b"xy", &mut spares);
        assert_eq!(output.unsent(b""), b"xy");
    }

    #[test]
    fn what_the_socket_did_not_take_outlives_the_batch() {
        let (mut output, mut spares) = (Output::default(), Spares::default());
        output.push_range(b"abcdef", 0..6, &mut spares);
        output.advance(2, &mut spares);
        output.keep(b"abcdef", &mut spares);
        assert_eq!(output.unsent(b""), b"cdef");
        output.advance(3, &mut spares);
        assert_eq!((output.unsent(b""), output.len()), (&b"f"[..], 1));
        output.advance(1, &mut spares);
        assert!(output.is_empty());
    }
}
