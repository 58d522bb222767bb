//! Finding the ends of requests and replies: what every byte from the network pays.

mod common;

use std::hint::black_box;

use common::{LIMITS, Owned, mget};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use slotway::resp::reply::ReplyScanner;
use slotway::resp::scan::{RequestScanner, Scan};

fn requests(c: &mut Criterion) {
    let key: &[u8] = b"key:000000012345";
    let get = Owned::new(&[b"GET", key]);
    let pipeline = get.bytes().repeat(16);
    let cases: [(&str, Vec<u8>); 5] = [
        ("get", get.bytes().to_vec()),
        ("set-64", Owned::new(&[b"SET", key, &[b'x'; 64]]).bytes().to_vec()),
        ("set-16k", Owned::new(&[b"SET", key, &[b'x'; 16_384]]).bytes().to_vec()),
        ("mget-10", mget(10).bytes().to_vec()),
        ("get-pipeline-16", pipeline),
    ];
    let mut group = c.benchmark_group("scan/request");
    for (name, bytes) in &cases {
        let mut scanner = RequestScanner::default();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(*name, |b| b.iter(|| scan_requests(&mut scanner, black_box(bytes))));
    }
    group.finish();
}

/// How many requests `bytes` hold.
fn scan_requests(scanner: &mut RequestScanner, mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Ok(Scan::Request(len)) = scanner.scan(bytes, &LIMITS) {
        black_box(scanner.request(bytes));
        scanner.reset();
        bytes = &bytes[len..];
        count += 1;
    }
    count
}

fn replies(c: &mut Criterion) {
    let value = |len: usize| format!("${len}\r\n{}\r\n", "x".repeat(len));
    let cases = [
        ("status", "+OK\r\n".to_owned()),
        ("value-64", value(64)),
        ("value-16k", value(16_384)),
        ("array-10", format!("*10\r\n{}", value(64).repeat(10))),
    ];
    let mut group = c.benchmark_group("scan/reply");
    for (name, text) in &cases {
        let mut scanner = ReplyScanner::default();
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(*name, |b| {
            b.iter(|| {
                let end = scanner.scan(black_box(text.as_bytes()));
                scanner.reset();
                end
            });
        });
    }
    group.finish();
}

criterion_group!(benches, requests, replies);
criterion_main!(benches);
