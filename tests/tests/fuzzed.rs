//! The fuzzers' targets with their seeds, and with those changed a little: what they check holds, and they do not rot.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use slotway_tests::fuzzed::TARGETS;

const ROUNDS: usize = 20_000;

/// Changes some bytes, cuts, or takes a part twice.
fn change(random: &mut fastrand::Rng, bytes: &mut Vec<u8>) {
    for _ in 0..random.usize(1..5) {
        let at = random.usize(0..=bytes.len());
        match random.u8(0..4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.u8(..)),
            2 if at < bytes.len() => bytes[at] = random.u8(..),
            _ => bytes.extend_from_within(at..bytes.len().min(at + 16)),
        }
    }
}

#[test]
fn what_the_fuzzers_check_holds_for_their_seeds_and_what_is_like_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proxy/fuzz/seeds");
    for (name, target) in TARGETS {
        let seeds: Vec<Vec<u8>> = fs::read_dir(folder.join(name))
            .unwrap_or_else(|error| panic!("seeds of {name}: {error}"))
            .map(|seed| fs::read(seed.expect("an entry").path()).expect("a seed"))
            .collect();
        assert!(!seeds.is_empty(), "{name} has no seeds");
        let mut random = fastrand::Rng::with_seed(1);
        seeds.iter().for_each(|seed| target(seed));
        for _ in 0..ROUNDS {
            let mut bytes = seeds[random.usize(..seeds.len())].clone();
            change(&mut random, &mut bytes);
            assert!(catch_unwind(|| target(&bytes)).is_ok(), "{name}: {}", bytes.escape_ascii());
        }
    }
}
