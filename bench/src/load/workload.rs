//! What is asked: keys, what they hold, and the commands on them, one after the other.

/// The commands of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mix {
    /// Every key stored once, in order; run it with as many requests as there are keys.
    Fill,
    /// GET with this probability in percent, else SET; keys uniformly random.
    GetSet(u8),
    /// MGET of this many random keys.
    Mget(usize),
    /// EVALSHA of a script that reads the value of a random key.
    Script,
    /// SUNION of the two sets of a random pair.
    Union,
    /// FT.SEARCH of the vectors that are nearest to a random one.
    Nearest,
}

/// What each key holds: a function of its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// A string of this many bytes, at least 12.
    Value(usize),
    /// A set; the two of a pair lie in different slots.
    Set,
    /// A set; a hash tag keeps the two of a pair in one slot.
    TaggedSet,
    /// A hash with a vector.
    Vector,
}

/// A key space and the commands on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Workload {
    /// What stands before the number in a key.
    pub prefix: &'static str,
    /// How many keys there are; an even number of sets.
    pub keys: u32,
    /// What they hold.
    pub content: Content,
    /// The commands.
    pub mix: Mix,
}

/// One command of a workload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// SET key value, or what else stores the content of a key.
    Store(u32),
    /// GET key
    Get(u32),
    /// MGET key ...
    Mget(Vec<u32>),
    /// EVALSHA script 1 key
    Script(u32),
    /// SUNION of this set, of an even number, and the next.
    Union(u32),
    /// FT.SEARCH of what lies nearest to the vector of this key.
    Nearest(u32),
}

/// Makes a workload's commands, one after the other; the same seed gives the same ones.
#[derive(Debug)]
pub struct Ops {
    workload: Workload,
    random: fastrand::Rng,
    /// The next key of [`Mix::Fill`].
    next: u32,
}

impl Ops {
    /// Begins anew.
    #[must_use]
    pub fn new(workload: Workload, seed: u64) -> Self {
        Self { workload, random: fastrand::Rng::with_seed(seed), next: 0 }
    }

    /// The next command.
    pub fn next_op(&mut self) -> Op {
        let keys = self.workload.keys;
        match self.workload.mix {
            Mix::Fill => {
                let key = self.next % keys;
                self.next = key + 1;
                Op::Store(key)
            }
            Mix::GetSet(percent) if self.random.u8(0..100) < percent => Op::Get(self.random.u32(0..keys)),
            Mix::GetSet(_) => Op::Store(self.random.u32(0..keys)),
            Mix::Mget(count) => Op::Mget((0..count).map(|_| self.random.u32(0..keys)).collect()),
            Mix::Script => Op::Script(self.random.u32(0..keys)),
            Mix::Union => Op::Union(self.random.u32(0..keys / 2) * 2),
            Mix::Nearest => Op::Nearest(self.random.u32(0..keys)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Workload =
        Workload { prefix: "key:", keys: 100, content: Content::Value(16), mix: Mix::GetSet(80) };

    #[test]
    fn fill_stores_every_key_once_and_a_seed_repeats_itself() {
        let mut fill = Ops::new(Workload { mix: Mix::Fill, keys: 3, ..SMALL }, 0);
        let keys: Vec<Op> = (0..3).map(|_| fill.next_op()).collect();
        assert_eq!(keys, [Op::Store(0), Op::Store(1), Op::Store(2)]);
        let (mut one, mut two) = (Ops::new(SMALL, 9), Ops::new(SMALL, 9));
        assert!((0..100).all(|_| one.next_op() == two.next_op()));
    }

    #[test]
    fn a_union_begins_with_the_first_set_of_a_pair() {
        let mut ops = Ops::new(Workload { mix: Mix::Union, keys: 4, ..SMALL }, 1);
        let firsts: Vec<Op> = (0..100).map(|_| ops.next_op()).collect();
        assert!(firsts.contains(&Op::Union(0)) && firsts.contains(&Op::Union(2)));
        assert!(firsts.iter().all(|op| [Op::Union(0), Op::Union(2)].contains(op)));
    }
}
