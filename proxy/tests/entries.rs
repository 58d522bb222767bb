//! The controller and the movers, simulated: thousands of fleets with heavy-tailed clients, caching resolvers, entries that
//! die, reports that are lost, proxies that begin anew; by the code of production (`slotway::entry`).

#[path = "entries/dice.rs"]
mod dice;
#[path = "entries/world.rs"]
mod world;

use slotway::entry::plan::{Basis, MAX_WEIGHT};
use world::{Recipe, World};

const RECIPE: Recipe = Recipe { entries: 4, proxies: 2, demand: 0.9, moves: true, loss: 0.0 };

/// What part of all caps is carried, on average over the last seconds, and by the fullest entry.
fn play(recipe: Recipe, seed: u64, seconds: u64) -> (f64, f64) {
    let mut world = World::new(recipe, seed);
    let (mut sum, mut fullest) = (0.0, vec![0.0; recipe.entries]);
    for second in 0..seconds {
        step(&mut world);
        if second + 10 >= seconds {
            let carried = world.carried();
            sum += carried.iter().sum::<f64>() / carried.len() as f64 / 10.0;
            fullest.iter_mut().zip(&carried).for_each(|(fullest, carried)| *fullest += carried / 10.0);
        }
    }
    (sum, fullest.iter().copied().fold(0.0, f64::max))
}

/// A second, and what has to hold in every one.
fn step(world: &mut World) {
    let before: Vec<_> = world.proxies.iter().map(|proxy| proxy.plan.clone()).collect();
    world.tick();
    for (proxy, before) in world.proxies.iter().zip(&before) {
        let plan = &proxy.plan;
        assert!(plan.highest_weight() > 0 && plan.highest_weight() <= MAX_WEIGHT, "{plan:?}");
        for entry in &plan.entries {
            let Some(was) = before.entry(&entry.id) else { continue };
            let flips = was.health != entry.health
                || was.drain != entry.drain
                || was.weight == 0
                || entry.weight == 0;
            // A tenth of the highest in a second, and what rounding adds.
            let change = was.weight.abs_diff(entry.weight);
            assert!(flips || change <= MAX_WEIGHT / 10 + 1, "{change} in a second: {was:?} {entry:?}");
            assert!(entry.excess == 0 || entry.excess <= entry.load, "{entry:?}");
        }
    }
}

/// Means over seeds, and the part of the worst tenth.
fn many(recipe: Recipe, seeds: std::ops::Range<u64>, seconds: u64) -> (f64, f64) {
    let count = (seeds.end - seeds.start) as usize;
    let mut carried: Vec<_> = seeds.map(|seed| play(recipe, seed, seconds).0 / recipe.demand).collect();
    carried.sort_by(f64::total_cmp);
    (carried.iter().sum::<f64>() / count as f64, carried[count / 10])
}

#[test]
fn all_that_is_wanted_is_carried_though_all_clients_begin_at_one_entry() {
    for (entries, seeds, mean, worst) in [(2, 300, 0.97, 0.93), (4, 300, 0.96, 0.92), (8, 150, 0.93, 0.88)] {
        let found = many(Recipe { entries, ..RECIPE }, 0..seeds, 90);
        println!("{entries} entries: {:.3} of what is wanted, {:.3} in nine of ten", found.0, found.1);
        assert!(found.0 >= mean && found.1 >= worst, "{entries} entries: {found:?}");
    }
}

/// Pools can't be divided, some carry a third of a cap, and what an entry at its cap would carry nobody can see.
#[test]
fn hardly_an_entry_stays_at_its_cap_where_there_is_room() {
    for (entries, demand, seconds, most) in [(4, 0.9, 60, 8), (8, 0.9, 90, 8), (4, 0.95, 60, 30)] {
        let is_full = |seed: &u64| play(Recipe { entries, demand, ..RECIPE }, *seed, seconds).1 >= 0.995;
        let full = (0..200).filter(is_full).count();
        println!("{entries} entries, {demand} of all caps: {full} of 200 fleets have one at its cap");
        assert!(full <= most, "{entries} entries, {demand} of all caps: {full} of 200");
    }
}

#[test]
fn by_dns_alone_it_is_not() {
    let found = many(Recipe { moves: false, ..RECIPE }, 0..200, 90);
    assert!(found.0 < 0.6, "clients that stay are not moved: {found:?}");
}

#[test]
fn lost_reports_restarts_and_a_deleted_hash_change_little() {
    for seed in 0..400 {
        let mut world = World::new(Recipe { proxies: 3, loss: 0.3, ..RECIPE }, seed);
        for second in 0..150 {
            match second {
                20 | 50 => world.delete_hash(),
                35 => world.restart(seed as usize % 3),
                _ => {}
            }
            step(&mut world);
        }
        let carried: f64 = world.carried().iter().sum::<f64>() / 4.0;
        assert!(carried >= 0.9 * 0.85, "seed {seed}: {carried:.2} is carried in the end");
    }
}

#[test]
fn a_dead_entry_is_in_no_plan_after_two_seconds_and_comes_back() {
    for seed in 0..200 {
        let mut world = World::new(Recipe { demand: 0.6, proxies: 3, ..RECIPE }, seed);
        (0..40).for_each(|_| step(&mut world));
        let victim = seed as usize % 4;
        world.alive[victim] = false;
        for second in 0..40 {
            step(&mut world);
            for proxy in &world.proxies {
                // Two tries that fail, and the report of it.
                assert!(second < 2 || proxy.plan.entries[victim].weight == 0, "seed {seed}, second {second}");
            }
        }
        // Answers are kept for a minute at most.
        (0..25).for_each(|_| step(&mut world));
        assert!((0..4).all(|resolver| !world.asked(resolver).contains(&victim)), "seed {seed}");
        world.alive[victim] = true;
        (0..10).for_each(|_| step(&mut world));
        assert!(world.proxies.iter().all(|proxy| proxy.plan.entries[victim].weight > 0), "seed {seed}");
    }
}

#[test]
fn where_most_seem_to_have_died_all_are_told_until_enough_are_back() {
    for seed in 0..100 {
        let mut world = World::new(Recipe { demand: 0.6, proxies: 3, ..RECIPE }, seed);
        (0..40).for_each(|_| step(&mut world));
        let gone = 3 + seed as usize % 2;
        (0..gone).for_each(|entry| world.alive[entry] = false);
        (0..10).for_each(|_| step(&mut world));
        for proxy in &world.proxies {
            assert_eq!(proxy.plan.basis, Basis::FailOpen, "seed {seed}");
            let told = proxy.plan.entries[..gone].iter().filter(|entry| entry.weight > 0).count();
            assert!(told > 0, "seed {seed}: who seems dead may not be: {:?}", proxy.plan);
        }
        world.alive[0] = true;
        world.alive[1] = true;
        (0..10).for_each(|_| step(&mut world));
        for proxy in &world.proxies {
            assert_eq!(proxy.plan.basis, Basis::Reports, "seed {seed}");
            assert_eq!(proxy.plan.entries[2].weight, 0, "seed {seed}");
        }
    }
}

#[test]
fn an_entry_to_be_left_is_left_and_the_rest_carries_what_it_can() {
    for seed in 0..300 {
        let mut world = World::new(Recipe { demand: 0.5, ..RECIPE }, seed);
        (0..60).for_each(|_| step(&mut world));
        world.fleet.entries[1].drain = true;
        let (before, mut left) = (world.connections(1), 0);
        for second in 0..90 {
            step(&mut world);
            if second == 25 {
                left = before.saturating_sub(world.connections(1));
            }
        }
        // A quarter in ten seconds, or a pool of each proxy where there are few.
        assert!(left * 2 >= before, "seed {seed}: {left} of {before} left within 25 s");
        assert_eq!(world.connections(1), 0, "seed {seed}");
        assert!(world.carried().iter().sum::<f64>() / 4.0 > 0.46, "seed {seed}: {:?}", world.carried());
    }
}

#[test]
fn when_all_is_well_nobody_is_moved_and_weights_stand() {
    let mut moved = 0;
    for seed in 0..200 {
        let mut world = World::new(Recipe { demand: 0.6, ..RECIPE }, seed);
        (0..120).for_each(|_| step(&mut world));
        let (before, told) = (world.proxies[0].plan.clone(), world.told.len());
        let mut turns = 0;
        let mut last = [0_i64; 4];
        for _ in 0..60 {
            let was = world.proxies[0].plan.clone();
            step(&mut world);
            for (place, (was, is)) in was.entries.iter().zip(&world.proxies[0].plan.entries).enumerate() {
                let change = i64::from(is.weight) - i64::from(was.weight);
                if change.abs() > 20 && change.signum() == -last[place] {
                    turns += 1;
                }
                if change.abs() > 20 {
                    last[place] = change.signum();
                }
            }
        }
        moved += world.told.len() - told;
        assert!(turns <= 12, "seed {seed}: {turns} turns of weights in a minute, from {before:?}");
    }
    assert!(moved <= 200, "{moved} pools of 9,600 were moved in a minute in which nothing happened");
}

#[test]
fn a_twentieth_of_an_entrys_connections_is_told_in_ten_seconds() {
    for seed in 0..100 {
        let mut world = World::new(Recipe { entries: 8, ..RECIPE }, seed);
        for _ in 0..60 {
            let connections = world.connections(0);
            step(&mut world);
            let now = world.now;
            let recent = world.told.iter().filter(|(at, from)| *from == 0 && now - at < 10_000).count();
            // One at least of each proxy; what had been there ten seconds ago may have been more.
            assert!(recent <= connections / 8 + 2, "seed {seed}: {recent} of {connections}");
        }
    }
}

/// `cargo test -p slotway --test entries -- --ignored --nocapture`: the table of `ARCHITECTURE.md`.
#[test]
#[ignore = "prints a table, decides nothing"]
fn table() {
    println!("| entries | DNS alone | with movers, mean | in nine of ten |\n| ---: | ---: | ---: | ---: |");
    for entries in [2, 4, 8, 16] {
        let recipe = Recipe { entries, ..RECIPE };
        let alone = many(Recipe { moves: false, ..recipe }, 0..60, 90);
        let moved = many(recipe, 0..60, 90);
        println!("| {entries} | {:.2} | {:.2} | {:.2} |", alone.0, moved.0, moved.1);
    }
}
