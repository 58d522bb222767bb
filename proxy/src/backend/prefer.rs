//! Which of several nodes a client reads from: always the same one while there is a choice, so that its reads don't
//! go back in time from one replica to another. Pure.

/// Most nodes of a shard that take part.
pub const MOST: usize = 64;

/// The place in `nodes` (each a number of its own) of the one that `client` prefers among those whose bit in
/// `tried` is not set; `None` where none is left.
///
/// Each client ranks the nodes in an order of its own that depends on nothing but client and node. So clients
/// are spread evenly, and a node that goes away, or comes back, moves nobody but its own clients.
#[must_use]
pub fn prefer(client: u64, nodes: impl Iterator<Item = u64>, tried: u64) -> Option<usize> {
    let left = nodes.take(MOST).enumerate().filter(|(place, _)| tried & (1 << place) == 0);
    left.max_by_key(|(_, node)| mix(client ^ node)).map(|(place, _)| place)
}

/// Spreads neighbouring numbers all over (the end of SplitMix64).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [u64; 3] = [0x1111_dead, 0x2222_beef, 0x3333_cafe];

    fn choice(client: u64, nodes: &[u64]) -> u64 {
        nodes[prefer(client, nodes.iter().copied(), 0).unwrap()]
    }

    #[test]
    fn clients_are_spread_and_each_stays_where_it_is() {
        let mut counts = [0; 3];
        for client in 1..=3_000 {
            let place = prefer(client, NODES.into_iter(), 0).unwrap();
            counts[place] += 1;
            assert_eq!(prefer(client, NODES.into_iter(), 0), Some(place));
        }
        assert!(counts.iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_node_that_leaves_or_comes_moves_its_own_clients_only() {
        for client in 0..1_000 {
            let all = choice(client, &NODES);
            let without = choice(client, &NODES[1..]);
            assert!(all == NODES[0] || all == without);
            assert_eq!(all, choice(client, &[NODES[2], NODES[0], NODES[1]]), "in whatever order they come");
        }
    }

    #[test]
    fn what_was_tried_is_not_tried_again() {
        let mut tried = 0;
        let mut seen = Vec::new();
        while let Some(place) = prefer(7, NODES.into_iter(), tried) {
            tried |= 1 << place;
            seen.push(place);
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
        assert_eq!(prefer(7, std::iter::repeat_n(1, 1_000), u64::MAX), None);
        assert_eq!(prefer(7, std::iter::empty(), 0), None);
    }
}
