//! Key to slot: the hash that every routed key pays.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use slotway::cluster::slot::Slot;

fn slot(c: &mut Criterion) {
    let keys: [(&str, &[u8]); 4] = [
        ("short", b"k:1"),
        ("usual", b"key:000000012345"),
        ("tagged", b"session:{user:000000012345}:cart"),
        ("long", &[b'k'; 200]),
    ];
    let mut group = c.benchmark_group("slot");
    for (name, key) in keys {
        group.throughput(Throughput::Bytes(key.len() as u64));
        group.bench_function(name, |b| b.iter(|| Slot::of(black_box(key))));
    }
    group.finish();
}

criterion_group!(benches, slot);
criterion_main!(benches);
