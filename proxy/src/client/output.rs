//! What is to be written to a client: nothing, a range of the read buffer that its replies lie in, or bytes
//! of its own. A reply that can be written at once is thus never copied.

use std::ops::Range;

use super::spares::Spares;

/// Replies on their way out, in order.
///
/// Invariant: `range` is empty where `own` holds unsent bytes; it means something only until the batch ends.
#[derive(Default, Debug)]
pub struct Output {
    own: Vec<u8>,
    /// Bytes of `own` that were written.
    sent: usize,
    /// A range of the batch's buffer.
    range: Range<u32>,
}

impl Output {
    /// Adds a range of `batch`, the buffer of this batch.
    pub fn push_range(&mut self, batch: &[u8], range: Range<usize>, spares: &mut Spares) {
        let (start, end) = (range.start as u32, range.end as u32);
        if !self.own.is_empty() {
            self.own.extend_from_slice(&batch[range]);
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
        if self.own.capacity() == 0 {
            self.own = spares.take_buffer();
        }
        self.own.extend_from_slice(bytes);
    }

    /// What is to be written now.
    #[must_use]
    pub fn unsent<'a>(&'a self, batch: &'a [u8]) -> &'a [u8] {
        if self.own.is_empty() {
            &batch[self.range.start as usize..self.range.end as usize]
        } else {
            &self.own[self.sent..]
        }
    }

    /// Notes that `count` bytes of [`Self::unsent`] were written.
    pub fn advance(&mut self, count: usize, spares: &mut Spares) {
        if self.own.is_empty() {
            self.range.start += count as u32;
            return;
        }
        self.sent += count;
        if self.sent == self.own.len() {
            spares.give_buffer(std::mem::take(&mut self.own));
            self.sent = 0;
        } else if self.sent >= COMPACT_ABOVE && self.sent * 2 >= self.own.len() {
            self.own.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// The batch's buffer goes away: what was not written becomes our own.
    pub fn keep(&mut self, batch: &[u8], spares: &mut Spares) {
        if !self.range.is_empty() {
            debug_assert!(self.own.is_empty(), "a range behind own bytes");
            self.own = spares.take_buffer();
            self.own.extend_from_slice(&batch[self.range.start as usize..self.range.end as usize]);
        }
        self.range = 0..0;
    }

    /// Whether everything was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.range.is_empty()
    }

    /// Bytes of memory that it holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.own.capacity()
    }

    /// Bytes to be written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.own.len() - self.sent + self.range.len()
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
        assert_eq!(output.own.capacity(), 0);
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
