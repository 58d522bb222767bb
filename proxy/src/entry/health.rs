//! Whether an entry works, from one try after the other. Pure.

use super::report::Health;

/// The tries of one entry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tries {
    health: Health,
    /// How many in a row said otherwise.
    against: u32,
}

// So many tries in a row change what is believed: one packet that is lost is no death, one answer no recovery.
const TRIES: u32 = 2;

impl Tries {
    /// Whether the last try reached a proxy; gives what is believed from here on.
    pub fn note(&mut self, reached: bool) -> Health {
        let said = if reached { Health::Up } else { Health::Down };
        if said == self.health {
            self.against = 0;
            return self.health;
        }
        self.against += 1;
        // Of what was never tried the first answer is believed.
        let first = self.health == Health::Unknown && reached;
        if first || self.against >= TRIES {
            *self = Self { health: said, against: 0 };
        }
        self.health
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tries_in_a_row_change_what_is_believed() {
        let mut tries = Tries::default();
        let believed: Vec<_> =
            [false, true, false, true, false, false, true, true].map(|reached| tries.note(reached)).into();
        use Health::{Down, Unknown, Up};
        assert_eq!(believed, [Unknown, Up, Up, Up, Up, Down, Down, Up]);
        assert_eq!(Tries::default().note(false), Unknown);
    }
}
