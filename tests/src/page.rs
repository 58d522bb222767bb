//! Pages of the admin port.

use std::io::{Read, Write};
use std::net::TcpStream;

/// What the page at `path` says, headers included.
///
/// # Panics
/// Where nobody answers.
#[must_use]
#[track_caller]
pub fn page(admin: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(admin).expect("the admin port");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("an open connection");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The number in the row of `/metrics` that begins like this, up to the space before it.
///
/// # Panics
/// Where nobody answers.
#[must_use]
#[track_caller]
pub fn number(admin: &str, row: &str) -> Option<u64> {
    let page = page(admin, "/metrics");
    page.lines().find_map(|line| line.strip_prefix(row)?.strip_prefix(' ')?.parse().ok())
}
