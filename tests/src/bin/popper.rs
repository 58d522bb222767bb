//! A process that pops until it is killed: so many connections, each waiting in BLPOP; every element that comes
//! is written to standard output, a line each, as soon as it is read.
//!
//! `popper ADDR KEY CONNECTIONS`

use std::io::{Write, stdout};
use std::thread::spawn;

use slotway_tests::raw::Raw;
use slotway_tests::value::Value;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [addr, key, connections] = args.as_slice() else { panic!("popper ADDR KEY CONNECTIONS") };
    let connections: usize = connections.parse().expect("a number");
    let threads: Vec<_> = (0..connections)
        .map(|_| {
            let (addr, line) = (addr.clone(), format!("BLPOP {key} 0"));
            spawn(move || pop(&addr, &line))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("it is killed before"));
}

/// Until the other side closes.
fn pop(addr: &str, line: &str) {
    let mut client = Raw::connect(addr);
    client.set_patience(std::time::Duration::from_secs(3600));
    let request: Vec<Vec<u8>> = slotway_tests::argv::words(line);
    while let Ok(Value::Array(popped)) = client.try_call(&request) {
        // One write for a line: a line is there whole or not at all.
        let line = format!("{}\n", popped[1].text());
        let mut out = stdout().lock();
        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}
