//! Vectors on a line: which are nearest to one is known without any search.
//!
//! The vector of a key has the key's number in its first dimension and zeroes in the others; so has what is searched
//! for, but a quarter more. Then no two are equally far, and the distances of those that are near are exact as floats.

/// Numbers of a vector.
pub const DIMENSIONS: usize = 32;
/// How many vectors a search asks for.
pub(super) const NEAREST: usize = 10;
/// What is searched for lies by so much above the number of its key.
const ABOVE: f32 = 0.25;

/// The bytes of a key's vector, as the servers take them: 32-bit floats, little end first.
pub(super) fn stored(key: u32) -> [u8; DIMENSIONS * 4] {
    bytes(key as f32)
}

/// The bytes of what is searched for near `key`.
pub(super) fn wanted(key: u32) -> [u8; DIMENSIONS * 4] {
    bytes(key as f32 + ABOVE)
}

/// Of `keys` vectors the numbers of those nearest to what is searched for near `key`, nearest first; of all that
/// `held` says yes to, so that what a single node replies is known too.
pub(super) fn nearest(key: u32, keys: u32, held: impl Fn(u32) -> bool) -> impl Iterator<Item = u32> {
    // The key's own comes first, then one above, one below, two above, two below.
    let around =
        (0..=keys).flat_map(move |far| [key.checked_add(far), key.checked_sub(far).filter(|_| far > 0)]);
    around.flatten().filter(move |&near| near < keys && held(near)).take(NEAREST)
}

fn bytes(place: f32) -> [u8; DIMENSIONS * 4] {
    let mut bytes = [0; DIMENSIONS * 4];
    bytes[..4].copy_from_slice(&place.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_are_those_that_a_sort_by_distance_puts_first() {
        let keys = 40;
        for key in 0..keys {
            for part in [1, 3] {
                let held = |near: u32| near.is_multiple_of(part);
                let distance = |near: u32| (near as f32 - (key as f32 + ABOVE)).powi(2);
                let mut sorted: Vec<u32> = (0..keys).filter(|&near| held(near)).collect();
                sorted.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
                sorted.truncate(NEAREST);
                assert_eq!(nearest(key, keys, held).collect::<Vec<_>>(), sorted, "near {key}");
            }
        }
    }

    #[test]
    fn vectors_are_floats_with_the_little_end_first() {
        assert_eq!(stored(3)[..8], [0, 0, 0x40, 0x40, 0, 0, 0, 0]);
        assert_eq!(wanted(0)[..4], 0.25f32.to_le_bytes());
    }
}
