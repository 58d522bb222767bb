//! Names of keys that a plan keeps something under for a moment, in the slot of a key of the client's.

use crate::cluster::slot::{Slot, hash_tag};

/// What the names of a plan begin with: no other plan's do, of this process or another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Names {
    own: Box<str>,
}

/// A tag above this is not repeated in a name: a short one for the same slot is looked for.
const LONGEST_TAG: usize = 64;

impl Names {
    /// `process` tells processes apart, `client` a process's clients, `request` a client's requests.
    #[must_use]
    pub fn new(process: &[u8], client: u64, request: u64) -> Self {
        let process: String = process.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { own: format!("{process}:{client}:{request}").into() }
    }

    /// The name numbered `number` in the slot of `key`.
    #[must_use]
    pub fn beside(&self, key: &[u8], number: usize) -> Vec<u8> {
        let tag = hash_tag(key);
        let short =
            Some(tag).filter(|tag| !tag.is_empty() && tag.len() <= LONGEST_TAG && !tag.contains(&b'}'));
        let found;
        let tag = if let Some(tag) = short {
            tag
        } else {
            found = tag_of(Slot::of(key));
            found.as_bytes()
        };
        [b"slotway:{", tag, format!("}}:{}:{number}", self.own).as_bytes()].concat()
    }
}

/// A tag whose slot this is: the first number that hashes to it, found after some 16,384 tries.
fn tag_of(slot: Slot) -> String {
    let mut numbers = (0u64..).map(|number| number.to_string());
    numbers.find(|number| Slot::of(number.as_bytes()) == slot).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_in_its_keys_slot_whatever_the_key() {
        let names = Names::new(&[0xab; 20], 7, 9);
        let long = "k".repeat(200);
        for key in ["a", "user:{7}:x", "", "}", "a}b", "{}", "{}x", "{{}}", &*long, "{a", "a{b}c{d}"] {
            let name = names.beside(key.as_bytes(), 3);
            assert_eq!(Slot::of(&name), Slot::of(key.as_bytes()), "{key}");
            assert!(name.len() < 160, "{key}");
        }
        assert_eq!(names.beside(b"a", 3), b"slotway:{a}:abababababababab:7:9:3");
    }
}
