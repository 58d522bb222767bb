//! Who listens to one topic. A single subscriber needs no memory of its own; many are found by their client, so
//! that one who leaves costs the same whatever the number.

use hashbrown::HashTable;

use crate::backend::in_flight::Ticket;

/// A client's part in a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscriber {
    /// The client's place among the worker's clients.
    pub client: u32,
    /// Where the topic stands in the client's own list.
    pub(super) place: u32,
    /// The request that subscribed, until its confirmation is known to have gone out: no message may go in
    /// front of it.
    pub since: Option<Ticket>,
}

/// The subscribers of one topic.
#[derive(Default, Debug)]
pub(super) enum Subscribers {
    #[default]
    Nobody,
    One(Subscriber),
    Many(HashTable<Subscriber>),
}

// A table that holds less than this share of what it has room for gives memory back.
const SPARSE: usize = 8;

impl Subscribers {
    /// Adds a client that is not among them.
    pub(super) fn insert(&mut self, subscriber: Subscriber) {
        debug_assert!(self.get_mut(subscriber.client).is_none(), "a client subscribes once");
        match self {
            Self::Nobody => *self = Self::One(subscriber),
            Self::One(first) => {
                let mut table = HashTable::with_capacity(2);
                table.insert_unique(hash(first.client), *first, hash_of);
                table.insert_unique(hash(subscriber.client), subscriber, hash_of);
                *self = Self::Many(table);
            }
            Self::Many(table) => {
                table.insert_unique(hash(subscriber.client), subscriber, hash_of);
            }
        }
    }

    /// Takes a client out.
    pub(super) fn remove(&mut self, client: u32) -> Option<Subscriber> {
        match self {
            Self::Nobody => None,
            Self::One(one) => {
                let removed = (one.client == client).then_some(*one)?;
                *self = Self::Nobody;
                Some(removed)
            }
            Self::Many(table) => {
                let entry = table.find_entry(hash(client), |other| other.client == client).ok()?;
                let (removed, _) = entry.remove();
                if table.is_empty() {
                    *self = Self::Nobody;
                } else if table.len() < table.capacity() / SPARSE {
                    table.shrink_to(table.len() * 2, hash_of);
                }
                Some(removed)
            }
        }
    }

    /// A client's part.
    pub(super) fn get_mut(&mut self, client: u32) -> Option<&mut Subscriber> {
        match self {
            Self::Nobody => None,
            Self::One(one) => Some(one).filter(|one| one.client == client),
            Self::Many(table) => table.find_mut(hash(client), |other| other.client == client),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Nobody)
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Subscriber> {
        let (one, many) = match self {
            Self::Nobody => (None, None),
            Self::One(one) => (Some(one), None),
            Self::Many(table) => (None, Some(table.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// The same, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Subscriber> {
        let (one, many) = match self {
            Self::Nobody => (None, None),
            Self::One(one) => (Some(one), None),
            Self::Many(table) => (None, Some(table.iter_mut())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

fn hash_of(subscriber: &Subscriber) -> u64 {
    hash(subscriber.client)
}

/// Keys are our own small numbers: nobody can choose some that collide.
fn hash(client: u32) -> u64 {
    let spread = (u64::from(client) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    spread ^ (spread >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_come_and_go_in_any_number() {
        let mut subscribers = Subscribers::default();
        for client in 0..1_000 {
            subscribers.insert(Subscriber { client, place: client, since: None });
        }
        assert_eq!(subscribers.iter_mut().count(), 1_000);
        for client in 1..1_000 {
            assert_eq!(subscribers.remove(client).map(|gone| gone.place), Some(client));
            assert_eq!(subscribers.remove(client), None);
        }
        assert_eq!((subscribers.iter().count(), subscribers.get_mut(0).map(|one| one.place)), (1, Some(0)));
        let Subscribers::Many(table) = &subscribers else { panic!("it was a table") };
        assert!(table.capacity() < 64, "{} places for one", table.capacity());
        assert!(subscribers.remove(0).is_some() && subscribers.is_empty());
    }
}
