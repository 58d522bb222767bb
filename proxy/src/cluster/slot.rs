//! A slot: one of the 16,384 buckets that Redis Cluster spreads keys over.

use std::fmt;

/// How many slots there are; the Redis Cluster specification fixes it.
pub const SLOT_COUNT: u16 = 16_384;

/// A slot number, always below [`SLOT_COUNT`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(u16);

impl Slot {
    /// Slot 0: whoever serves it serves what has no key but must always go to the same shard.
    pub const FIXED: Self = Self(0);

    /// `None` where `number` is not a slot.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number < SLOT_COUNT { Some(Self(number)) } else { None }
    }

    /// The slot `key` belongs to: CRC16 (XMODEM) of its hash tag, or of the whole key, modulo 16,384.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        Self(crc16(hash_tag(key)) % SLOT_COUNT)
    }

    /// A key of this slot: `prefix` and two more bytes. `None` where a hash tag within `prefix` fixes another slot.
    #[must_use]
    pub fn key_behind(self, prefix: &[u8]) -> Option<Vec<u8>> {
        let mut key = [prefix, &[0, 0]].concat();
        let tail = prefix.len();
        // Four sums lead to one slot. A second is needed only where the two bytes would end a hash tag.
        (0..4).find_map(|high| {
            // The sum of two bytes behind a sum s is that of the bytes xor s behind 0.
            let bytes = crc16(prefix) ^ before_two_zeroes(self.0 + high * SLOT_COUNT);
            key[tail..].copy_from_slice(&bytes.to_be_bytes());
            (Self::of(&key) == self).then(|| key.clone())
        })
    }

    /// The number, from 0 to 16,383.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What of `key` is hashed: the bytes between the first `{` and the first `}` behind it where there are
/// any, so that keys that share a tag share a slot; the whole key otherwise.
#[must_use]
pub fn hash_tag(key: &[u8]) -> &[u8] {
    // Few keys have one, and keys are short: to look for it costs less than to call who does.
    if !has_brace(key) {
        return key;
    }
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    let inside = &key[open + 1..];
    match memchr::memchr(b'}', inside) {
        Some(0) | None => key,
        Some(close) => &inside[..close],
    }
}

/// Whether there is a `{`, looked for in eight bytes at a time.
#[inline]
fn has_brace(key: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH_BITS: u64 = u64::from_ne_bytes([0x80; 8]);
    const BRACES: u64 = u64::from_ne_bytes([b'{'; 8]);
    let (words, rest) = key.as_chunks();
    let has_one = |word: &[u8; 8]| {
        // Zero where the brace was: only there, and behind it, does taking one away set a high bit.
        let zero = u64::from_ne_bytes(*word) ^ BRACES;
        zero.wrapping_sub(ONES) & !zero & HIGH_BITS != 0
    };
    words.iter().any(has_one) || rest.contains(&b'{')
}

/// CRC-16/XMODEM (polynomial 0x1021, initial value 0, not reflected), as the cluster specification names
/// it; its check value for `123456789` is 0x31C3. Four bytes at a time, as each step waits for the one before.
fn crc16(bytes: &[u8]) -> u16 {
    let [last, third, second, first] = &CRC16_TABLES;
    let (words, rest) = bytes.as_chunks();
    let crc = words.iter().fold(0u16, |crc, [a, b, c, d]| {
        let [high, low] = crc.to_be_bytes();
        first[usize::from(high ^ a)]
            ^ second[usize::from(low ^ b)]
            ^ third[usize::from(*c)]
            ^ last[usize::from(*d)]
    });
    rest.iter().fold(crc, |crc, byte| (crc << 8) ^ last[usize::from((crc >> 8) as u8 ^ byte)])
}

/// The sum that becomes `crc` by two zero bytes: the division run backwards. The polynomial is odd, so a sum's lowest bit
/// tells whether the polynomial was subtracted last.
fn before_two_zeroes(crc: u16) -> u16 {
    (0..16).fold(crc, |crc, _| if crc & 1 == 0 { crc >> 1 } else { ((crc ^ 0x1021) >> 1) | 0x8000 })
}

/// The sum of each byte, and that of each with one, two and three zero bytes behind it.
static CRC16_TABLES: [[u16; 256]; 4] = {
    let mut tables = [[0u16; 256]; 4];
    let mut i = 0;
    while i < 4 * 256 {
        let (zeroes, byte) = (i / 256, i % 256);
        let mut crc = if zeroes == 0 { (byte as u16) << 8 } else { tables[zeroes - 1][byte] };
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        tables[zeroes][byte] = crc;
        i += 1;
    }
    tables
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc16_gives_the_check_value_of_its_definition() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
    }

    #[test]
    fn crc16_is_that_of_one_byte_after_the_other() {
        let bytes: Vec<u8> = (0..64u8).map(|i| i.wrapping_mul(97) ^ 0xa5).collect();
        for len in 0..bytes.len() {
            let bit_by_bit = bytes[..len].iter().fold(0u16, |crc, byte| {
                (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
                    if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
                })
            });
            assert_eq!(crc16(&bytes[..len]), bit_by_bit, "{len}");
        }
    }

    #[test]
    fn a_tag_is_found_wherever_it_begins() {
        for before in 0..20 {
            for filler in [b'x', b'z', b'|', 0x7c, 0xfb, 0x00, 0xff] {
                let key = [&vec![filler; before][..], b"{t}", &[filler; 9]].concat();
                assert_eq!(hash_tag(&key), b"t", "{before} {filler}");
                assert!(!has_brace(&vec![filler; before]), "{before} {filler}");
            }
        }
    }

    #[test]
    fn slots_are_those_a_redis_cluster_gives() {
        // CLUSTER KEYSLOT of redis-server 7.0.
        for (key, slot) in [("foo", 12_182), ("bar", 5_061), ("hello", 866), ("", 0), ("{user1}.a", 8_106)] {
            assert_eq!(Slot::of(key.as_bytes()).number(), slot, "{key}");
        }
    }

    #[test]
    fn only_the_first_non_empty_tag_is_hashed() {
        assert_eq!(hash_tag(b"a{b}c{d}"), b"b");
        assert_eq!(hash_tag(b"a{}c{d}"), b"a{}c{d}");
        assert_eq!(hash_tag(b"a{{b}}"), b"{b");
        assert_eq!(hash_tag(b"a}b{c"), b"a}b{c");
    }
}
