//! One command, one reply, over a connection of its own: to set up servers and see whether they are ready. ◆

#![expect(clippy::disallowed_types, reason = "I/O: owns the connection that it asks over")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::failure::Failure;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest bulk string that is taken.
const LONGEST: usize = 1 << 20;

/// The reply to the command `argv`: a status, an integer or a bulk string as text; of an array its length.
pub fn ask(node: SocketAddr, argv: &[&str]) -> Result<String, Failure> {
    let doing = || format!("asking {node} for {}", argv.first().unwrap_or(&""));
    let mut stream = TcpStream::connect_timeout(&node, TIMEOUT).map_err(Failure::io(doing()))?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(Failure::io(doing()))?;
    let mut request = format!("*{}\r\n", argv.len());
    for arg in argv {
        request.push_str(&format!("${}\r\n{arg}\r\n", arg.len()));
    }
    stream.write_all(request.as_bytes()).map_err(Failure::io(doing()))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).map_err(Failure::io(doing()))?;
    let line = line.trim_end();
    match line.split_at_checked(1) {
        Some(("+" | ":" | "*", text)) => Ok(text.to_owned()),
        Some(("$", len)) => {
            let len = len.parse().ok().filter(|len| *len <= LONGEST).unwrap_or(0);
            let mut text = vec![0; len];
            reader.read_exact(&mut text).map_err(Failure::io(doing()))?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        }
        _ => Err(Failure::Answered {
            node,
            command: argv.first().copied().unwrap_or_default().to_owned(),
            line: line.to_owned(),
        }),
    }
}
