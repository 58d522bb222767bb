//! From a key to its node, and a request of many keys to its parts.

mod common;

use std::hint::black_box;
use std::sync::Arc;

use common::mget;
use criterion::{Criterion, criterion_group, criterion_main};
use slotway::cluster::slot::{SLOT_COUNT, Slot};
use slotway::cluster::slot_map::{Endpoint, Generation, Shard, SlotMap};
use slotway::command::spec::Split;
use slotway::route::split::{Together, cut};

/// Three primaries, a third of the slots each.
fn three_primaries() -> SlotMap {
    let slot = |number| Slot::new(number).expect("a third of the slots ends at a slot");
    let shard = |index: u16| Shard {
        primary: Endpoint { host: Arc::from("127.0.0.1"), port: 7000 + index },
        replicas: Vec::new(),
        slots: vec![(slot(index * (SLOT_COUNT / 3)), slot((index + 1) * (SLOT_COUNT / 3) - 1))],
    };
    SlotMap::new(Generation(1), &[shard(0), shard(1), shard(2)])
}

fn route(c: &mut Criterion) {
    let map = three_primaries();
    let key: &[u8] = b"key:000000012345";
    let mut group = c.benchmark_group("route");
    group.bench_function("one-key", |b| b.iter(|| map.owner(Slot::of(black_box(key)))));
    for (name, together) in [("by-slot", Together::Slot), ("by-shard", Together::Shard)] {
        for count in [10, 100] {
            let owned = mget(count);
            let request = owned.request();
            group.bench_function(format!("mget-{count}-{name}"), |b| {
                b.iter(|| cut(black_box(&request), Split::Gather, together, &map));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, route);
criterion_main!(benches);
