//! Where a request's keys stand: once a request, by its command's key specs.

mod common;

use std::hint::black_box;

use common::{Owned, mget};
use criterion::{Criterion, criterion_group, criterion_main};
use slotway::command::keys::positions;
use slotway::command::table::{Lookup, Table};

fn keys(c: &mut Criterion) {
    let table = Table::builtin();
    let cases: [(&str, Owned); 6] = [
        ("get", Owned::new(&[b"GET", b"k"])),
        ("mget-10", mget(10)),
        ("eval", Owned::new(&[b"EVAL", b"return 1", b"2", b"a", b"b", b"x"])),
        ("zunionstore", Owned::new(&[b"ZUNIONSTORE", b"d", b"2", b"a", b"b", b"WEIGHTS", b"1", b"2"])),
        ("xread", Owned::new(&[b"XREAD", b"COUNT", b"5", b"STREAMS", b"a", b"b", b"0", b"0"])),
        (
            "xreadgroup",
            Owned::new(&[b"XREADGROUP", b"GROUP", b"g", b"c", b"STREAMS", b"a", b"b", b">", b">"]),
        ),
    ];
    let mut group = c.benchmark_group("keys");
    for (name, owned) in &cases {
        let request = owned.request();
        let Lookup::Found(spec) = table.find(&request) else { continue };
        group.bench_function(*name, |b| {
            b.iter(|| positions(spec, black_box(&request)).map(|keys| keys.fold(0, usize::wrapping_add)));
        });
    }
    group.finish();
}

criterion_group!(benches, keys);
criterion_main!(benches);
