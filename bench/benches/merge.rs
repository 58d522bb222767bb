//! The parts of a split request become one reply.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use slotway::command::spec::Merge as Policy;
use slotway::resp::protocol::Protocol;
use slotway::route::merge::{Merge, MergeKind};

fn merge(c: &mut Criterion) {
    let value = format!("$64\r\n{}\r\n", "x".repeat(64));
    let array = |count: usize| format!("*{count}\r\n{}", value.repeat(count)).into_bytes();
    let thirds = MergeKind::Gather { order: (0..10).map(|key| key % 3).collect() };
    let singles = MergeKind::Gather { order: (0..10).collect() };
    let cases: [(&str, MergeKind, Vec<Vec<u8>>); 4] = [
        ("gather-10-of-3-shards", thirds, vec![array(4), array(3), array(3)]),
        ("gather-10-of-10-slots", singles, vec![array(1); 10]),
        ("sum-of-3", MergeKind::Policy(Policy::Sum), vec![b":12345\r\n".to_vec(); 3]),
        ("concat-of-3", MergeKind::Policy(Policy::Concat), vec![array(100); 3]),
    ];
    let mut group = c.benchmark_group("merge");
    for (name, kind, parts) in &cases {
        group.bench_function(*name, |b| {
            b.iter(|| {
                let mut merge = Merge::new(kind.clone(), parts.len(), Protocol::Resp2);
                for (index, part) in (0u16..).zip(parts) {
                    merge.fill(index, black_box(part), false);
                }
                merge.finish()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, merge);
criterion_main!(benches);
