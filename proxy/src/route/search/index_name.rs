//! An index's name as a cluster's node takes it. COMMAND calls the name a key, so a node answers MOVED where it does not
//! serve the name's slot, though each node has an index of its own. But the module reads the name up to its first zero
//! byte, and the slot is that of the whole: a zero and two bytes behind it lead to any slot. So the index has its plain
//! name on every shard, and a moved slot changes nothing.

use crate::cluster::slot::Slot;

/// `name`, so written that its slot is `slot`. `None` where its hash tag fixes the slot, or where it has a zero byte.
pub(super) fn in_slot(name: &[u8], slot: Slot) -> Option<Vec<u8>> {
    if name.contains(&0) {
        return None;
    }
    let mut written = name.to_vec();
    written.push(0);
    slot.key_behind(&written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_led_to_any_slot_and_begins_as_it_was() {
        for number in (0..16_384).step_by(7) {
            let slot = Slot::new(number).unwrap();
            for name in ["idx", "", "an{open", "a{}b", "}{"] {
                let written = in_slot(name.as_bytes(), slot).unwrap();
                assert_eq!(Slot::of(&written), slot, "{name}");
                assert!(written.starts_with(&[name.as_bytes(), &[0]].concat()), "{name}");
                assert_eq!(written.len(), name.len() + 3);
            }
        }
    }

    #[test]
    fn what_fixes_the_slot_or_ends_the_name_is_no_name() {
        let slot = Slot::new(5).unwrap();
        assert_eq!(in_slot(b"a{tag}", slot), None);
        assert_eq!(in_slot(b"a\0b", slot), None);
    }
}
