//! From a request to its command's row: once a request.

mod common;

use std::hint::black_box;

use common::Owned;
use criterion::{Criterion, criterion_group, criterion_main};
use slotway::command::table::Table;

fn lookup(c: &mut Criterion) {
    let table = Table::builtin();
    let cases: [(&str, Owned); 5] = [
        ("get", Owned::new(&[b"GET", b"k"])),
        ("lower-case", Owned::new(&[b"hincrby", b"k", b"f", b"1"])),
        ("long", Owned::new(&[b"GEORADIUSBYMEMBER_RO", b"k"])),
        ("subcommand", Owned::new(&[b"CLIENT", b"SETNAME", b"n"])),
        ("unknown", Owned::new(&[b"NOSUCHCOMMAND", b"k"])),
    ];
    let mut group = c.benchmark_group("lookup");
    for (name, owned) in &cases {
        let request = owned.request();
        group.bench_function(*name, |b| b.iter(|| table.find(black_box(&request))));
    }
    group.finish();
}

criterion_group!(benches, lookup);
criterion_main!(benches);
