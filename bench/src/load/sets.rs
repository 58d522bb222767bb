//! Sets of integers: what each holds, and what the union of a pair is.
//!
//! Servers keep a small set of integers sorted and so reply it; both sets of a pair are kept such that their union is
//! sorted also where one is put behind the other.

use std::ops::Range;

use super::codec::push_bulk;

/// Members of a set.
pub(super) const MEMBERS: u32 = 10;
/// By how much a set's first member lies above that of the set before: each shares the other half with the next.
const STEP: u32 = MEMBERS / 2;
/// The smallest member: all have as many digits.
const FIRST: u32 = 10_000_000;

/// The members of set `key`, in order.
fn members(key: u32) -> Range<u32> {
    let first = FIRST + key * STEP;
    first..first + MEMBERS
}

/// The members of the sets `first` and `first + 1` together, in order.
pub(super) fn union(first: u32) -> Range<u32> {
    members(first).start..members(first + 1).end
}

/// Appends the members of set `key` to a request.
pub(super) fn push_members(key: u32, out: &mut Vec<u8>) {
    members(key).for_each(|member| push_bulk(member.to_string().as_bytes(), out));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sets_of_a_pair_share_members_and_their_union_is_sorted_either_way() {
        for first in [0, 2, 9_998] {
            let (one, two) = (members(first), members(first + 1));
            let mut behind: Vec<u32> = one.clone().collect();
            behind.extend(two.clone().filter(|member| !one.contains(member)));
            assert_eq!(behind, union(first).collect::<Vec<_>>());
            assert!(behind.len() < (2 * MEMBERS) as usize, "nothing is shared");
            assert!(behind.iter().all(|member| member.to_string().len() == 8));
        }
    }
}
