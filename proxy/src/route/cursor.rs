//! SCAN over all shards behind one cursor: which shard, and where in it.
//!
//! A cursor is `shard cursor * 16384 + slot`. It fits 64 bits, which is what clients keep cursors in: a server's
//! cursor is below its table's size, in cluster mode of newer servers with a slot's 14 bits beside it, so that
//! 50 bits are enough for tables of 2^36 buckets. One that doesn't fit is an error, not a wrong answer.
//! A shard that has been read ends in the next shard's beginning; the last one ends in 0. A cursor names the shard by
//! the highest slot that it serves, and the shards are read in the order of these. Tools move slots from the lowest
//! on, so it stays where it is as long as the shard has any. As long as it does every key that stays in its shard
//! throughout is returned at least once, whatever shards are added or leave, and whatever slots they exchange.

use crate::cluster::slot::{SLOT_COUNT, Slot};
use crate::cluster::slot_map::SlotMap;
use crate::resp::scan::parse_number;

/// Where a SCAN stands: the shard that is read now, and the one to come after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The slot by which the shard is found.
    pub slot: Slot,
    /// The next shard's, where there is one.
    pub next: Option<Slot>,
}

/// Splits a client's cursor into the shard's slot and the shard's own cursor; `None` for a cursor that we
/// never gave. Cursor 0 begins at slot 0.
#[must_use]
pub fn parse(text: &[u8]) -> Option<(Slot, u64)> {
    let text = std::str::from_utf8(text).ok()?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Clients keep cursors in 64 bits: a larger one was never given.
    let cursor: u64 = text.parse().ok()?;
    let slot = Slot::new((cursor % u64::from(SLOT_COUNT)) as u16)?;
    Some((slot, cursor / u64::from(SLOT_COUNT)))
}

/// The slot by which the shard is found that a cursor stands in, and that of the next one.
#[must_use]
pub fn shards(map: &SlotMap, slot: Slot, cursor: u64) -> (Slot, Option<Slot>) {
    let highest = map.highest_slots();
    // Behind the beginning of a shard stands nothing yet: whichever comes at that place or behind it is read.
    let begins = if cursor == 0 { highest.iter().find(|other| **other >= slot) } else { None };
    let slot = *begins.unwrap_or(&slot);
    let next = highest.iter().find(|other| **other > slot && map.owner(**other) != map.owner(slot));
    (slot, next.copied())
}

/// The client's cursor for a shard's own; `None` where it doesn't fit. Never 0 unless the shard is found by
/// slot 0 and starts over.
fn encode(slot: Slot, cursor: u64) -> Option<u64> {
    cursor.checked_mul(u64::from(SLOT_COUNT))?.checked_add(u64::from(slot.number()))
}

/// Puts our cursor in the place of the shard's in a SCAN reply; `None` where the reply isn't one.
#[must_use]
pub fn translate(reply: &[u8], place: Place) -> Option<Vec<u8>> {
    let rest = reply.strip_prefix(b"*2\r\n$")?;
    let line = memchr::memchr(b'\r', rest)?;
    let len = usize::try_from(parse_number(&rest[..line])?).ok()?;
    let cursor = rest.get(line + 2..line + 2 + len)?;
    let elements = rest.get(line + 2 + len + 2..)?;
    let cursor: u64 = std::str::from_utf8(cursor).ok()?.parse().ok()?;
    let ours = match (cursor, place.next) {
        (0, None) => 0,
        (0, Some(next)) => encode(next, 0)?,
        (cursor, _) => encode(place.slot, cursor)?,
    };
    let ours = ours.to_string();
    let mut out = format!("*2\r\n${}\r\n{ours}\r\n", ours.len()).into_bytes();
    out.extend_from_slice(elements);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::slot_map::{Endpoint, Generation, Shard};

    fn slot(number: u16) -> Slot {
        Slot::new(number).unwrap()
    }

    #[test]
    fn shards_are_read_one_after_the_other() {
        let place = Place { slot: slot(0), next: Some(slot(5461)) };
        let reply = translate(b"*2\r\n$2\r\n17\r\n*1\r\n$1\r\na\r\n", place).unwrap();
        assert_eq!(reply, b"*2\r\n$6\r\n278528\r\n*1\r\n$1\r\na\r\n");
        assert_eq!(parse(b"278528"), Some((slot(0), 17)));

        let reply = translate(b"*2\r\n$1\r\n0\r\n*0\r\n", place).unwrap();
        assert_eq!(reply, b"*2\r\n$4\r\n5461\r\n*0\r\n");
        assert_eq!(parse(b"5461"), Some((slot(5461), 0)));

        let last = Place { slot: slot(5461), next: None };
        assert_eq!(translate(b"*2\r\n$1\r\n0\r\n*0\r\n", last).unwrap(), b"*2\r\n$1\r\n0\r\n*0\r\n");
    }

    #[test]
    fn what_shards_exchange_shifts_none_that_was_not_read() {
        let map = |shards: [&[(u16, u16)]; 3]| {
            let of = |(port, slots): (u16, &[(u16, u16)])| Shard {
                primary: Endpoint { host: "h".into(), port },
                replicas: Vec::new(),
                slots: slots.iter().map(|(first, last)| (slot(*first), slot(*last))).collect(),
            };
            let shards: Vec<_> = (0..).zip(shards).map(of).collect();
            SlotMap::new(Generation(1), &shards)
        };
        let (a, b, c) = (slot(5_460), slot(10_922), slot(16_383));
        let even = map([&[(0, 5_460)], &[(5_461, 10_922)], &[(10_923, 16_383)]]);
        assert_eq!(shards(&even, slot(0), 0), (a, Some(b)), "the beginning");
        assert_eq!(shards(&even, a, 7), (a, Some(b)));
        assert_eq!(shards(&even, b, 0), (b, Some(c)));
        assert_eq!(shards(&even, c, 0), (c, None));
        // The second was given the lowest slot of the first, and gave its own lowest one to the third.
        let odd = map([&[(1, 5_460)], &[(0, 0), (5_462, 10_922)], &[(5_461, 5_461), (10_923, 16_383)]]);
        assert_eq!(shards(&odd, a, 7), (a, Some(b)));
        assert_eq!(shards(&odd, b, 7), (b, Some(c)));
        // The second has left, before it was read: what was its own is the third's.
        let two = map([&[(0, 5_460)], &[], &[(5_461, 16_383)]]);
        assert_eq!(shards(&two, b, 0), (c, None));
        assert_eq!(shards(&SlotMap::empty(), slot(0), 0), (slot(0), None));
    }

    #[test]
    fn any_cursor_of_a_server_comes_back_as_it_was() {
        for cursor in [1, 17, 1 << 24, (1 << 48) + 3, (1 << 50) - 1] {
            let ours = encode(slot(16_383), cursor).unwrap().to_string();
            assert_eq!(parse(ours.as_bytes()), Some((slot(16_383), cursor)));
        }
        assert_eq!(encode(slot(0), 1 << 50), None);
    }

    #[test]
    fn what_is_no_cursor_of_ours_is_refused() {
        for text in ["", "-1", "x", "+1", " 1", "1e3", "999999999999999999999999999999999999999999"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
