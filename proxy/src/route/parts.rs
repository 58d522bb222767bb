//! The parts of one reply as they come, whole or in pieces: small ones share a buffer.

/// Parts of a reply, numbered from 0.
#[derive(Debug)]
pub struct Parts {
    /// Parts that are not complete.
    missing: usize,
    parts: Vec<Part>,
    /// Parts that came whole, one behind the other: one buffer for many small parts.
    bytes: Vec<u8>,
    /// Bytes of all parts.
    held: usize,
}

#[derive(Debug)]
enum Part {
    Missing,
    /// A range of `bytes`.
    Whole {
        start: usize,
        len: usize,
    },
    /// Comes in pieces.
    Pieces(Vec<u8>),
    /// This stands in its place; what comes of it is dropped.
    Refused(&'static [u8]),
}

impl Parts {
    /// Waits for `count` parts.
    #[must_use]
    pub fn new(count: usize) -> Self {
        debug_assert!(count > 0, "a reply has parts");
        let parts = (0..count).map(|_| Part::Missing).collect();
        Self { missing: count, parts, bytes: Vec::new(), held: 0 }
    }

    /// Takes a piece of part `part`; true once every part is complete.
    pub fn fill(&mut self, part: u16, piece: &[u8], more: bool) -> bool {
        let Some(slot) = self.parts.get_mut(usize::from(part)) else {
            debug_assert!(false, "part {part} of {}", self.parts.len());
            return self.missing == 0;
        };
        let mut kept = piece.len();
        match slot {
            Part::Refused(_) => kept = 0,
            Part::Missing if !more => {
                *slot = Part::Whole { start: self.bytes.len(), len: piece.len() };
                self.bytes.extend_from_slice(piece);
            }
            Part::Missing => *slot = Part::Pieces(piece.to_vec()),
            Part::Pieces(bytes) => bytes.extend_from_slice(piece),
            Part::Whole { .. } => {
                debug_assert!(false, "part {part} was filled twice");
                return self.missing == 0;
            }
        }
        self.held += kept;
        if !more {
            self.missing -= 1;
        }
        self.missing == 0
    }

    /// Drops what came of part `part` and what is to come: this is its reply, once it is complete.
    pub fn refuse(&mut self, part: u16, error: &'static [u8]) {
        let Some(slot) = self.parts.get_mut(usize::from(part)) else { return };
        if let Part::Pieces(bytes) = slot {
            self.held -= bytes.len();
        }
        if !matches!(slot, Part::Whole { .. }) {
            *slot = Part::Refused(error);
        }
    }

    /// Every part, in order; empty for one that has not come.
    #[must_use]
    pub fn replies(&self) -> Vec<&[u8]> {
        let bytes_of = |part| match part {
            &Part::Missing => &[][..],
            Part::Whole { start, len } => &self.bytes[*start..*start + *len],
            Part::Pieces(bytes) => bytes,
            Part::Refused(error) => error,
        };
        self.parts.iter().map(bytes_of).collect()
    }

    /// Bytes kept for parts.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_in_any_order_and_in_pieces() {
        let mut parts = Parts::new(3);
        assert!(!parts.fill(2, b"c", false));
        assert!(!parts.fill(0, b"a1", true));
        assert!(!parts.fill(1, b"b", false));
        assert!(parts.fill(0, b"a2", false));
        assert_eq!((parts.replies(), parts.held_bytes()), (vec![&b"a1a2"[..], b"b", b"c"], 6));
    }

    #[test]
    fn a_refused_part_keeps_nothing_and_is_complete_when_its_reply_is() {
        let mut parts = Parts::new(2);
        parts.fill(0, b"long", true);
        parts.refuse(0, b"-ERR too long\r\n");
        assert_eq!(parts.held_bytes(), 0);
        assert!(!parts.fill(1, b"b", false));
        assert!(!parts.fill(0, b"er", true));
        assert!(parts.fill(0, b"st", false));
        assert_eq!((parts.replies(), parts.held_bytes()), (vec![&b"-ERR too long\r\n"[..], b"b"], 1));
    }
}
