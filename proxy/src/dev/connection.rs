//! ◆ A connection to one server, one command at a time: all that forming a cluster takes.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "I/O: owns the socket, bounds each answer's time, waits between tries"
)]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use redis_protocol::resp2::decode::decode_bytes_mut;
use redis_protocol::resp2::types::BytesFrame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::error::DevError;

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest answer: `CLUSTER NODES` of the largest cluster here takes a tenth.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Pause between tries to reach a server that is starting.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// An open connection.
pub(super) struct Connection {
    server: SocketAddr,
    stream: TcpStream,
}

impl Connection {
    /// Tries until the server at `server` answers a PING. The caller bounds the time.
    pub(super) async fn open_answering(server: SocketAddr) {
        loop {
            if let Ok(mut connection) = Self::open(server).await
                && connection.call(&["PING"]).await.is_ok()
            {
                return;
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Connects to `server`.
    pub(super) async fn open(server: SocketAddr) -> Result<Self, DevError> {
        match timeout(ANSWER_TIMEOUT, TcpStream::connect(server)).await {
            Ok(Ok(stream)) => Ok(Self { server, stream }),
            Ok(Err(error)) => Err(failed(server, &[], error.to_string())),
            Err(_) => Err(failed(server, &[], "timed out".to_owned())),
        }
    }

    /// Sends a command and gives its answer as text; an error reply is an error.
    pub(super) async fn call(&mut self, command: &[&str]) -> Result<String, DevError> {
        let failed = |reason: String| failed(self.server, command, reason);
        let exchange = timeout(ANSWER_TIMEOUT, exchange(&mut self.stream, command));
        match exchange.await.map_err(|_| failed("no answer in time".to_owned()))? {
            Ok(BytesFrame::Error(error)) => Err(failed(error.to_string())),
            Ok(BytesFrame::SimpleString(text) | BytesFrame::BulkString(text)) => {
                Ok(String::from_utf8_lossy(&text).into_owned())
            }
            Ok(_) => Err(failed("an answer of another type than text".to_owned())),
            Err(reason) => Err(failed(reason)),
        }
    }
}

async fn exchange(stream: &mut TcpStream, command: &[&str]) -> Result<BytesFrame, String> {
    stream.write_all(&request(command)).await.map_err(|error| error.to_string())?;
    let mut answer = BytesMut::new();
    loop {
        if let Some((frame, ..)) = decode_bytes_mut(&mut answer).map_err(|error| error.to_string())? {
            return Ok(frame);
        }
        if answer.len() > MAX_ANSWER_BYTES {
            return Err("the answer is too long".to_owned());
        }
        if stream.read_buf(&mut answer).await.map_err(|error| error.to_string())? == 0 {
            return Err("the connection was closed".to_owned());
        }
    }
}

fn request(command: &[&str]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", command.len());
    for argument in command {
        request.push_str(&format!("${}\r\n{argument}\r\n", argument.len()));
    }
    request.into_bytes()
}

/// The first words of `command` name it well enough: ADDSLOTS has thousands.
fn failed(node: SocketAddr, command: &[&str], reason: String) -> DevError {
    let command = if command.is_empty() {
        "connecting".to_owned()
    } else {
        command.iter().take(3).copied().collect::<Vec<_>>().join(" ")
    };
    DevError::Form { node, command, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_an_array_of_bulk_strings() {
        assert_eq!(request(&["PING", ""]), b"*2\r\n$4\r\nPING\r\n$0\r\n\r\n");
    }

    #[test]
    fn an_error_names_the_node_and_the_command() {
        let error =
            failed(SocketAddr::from(([127, 0, 0, 1], 1)), &["CLUSTER", "MEET", "h", "2"], "no".to_owned());
        assert_eq!(error.to_string(), "cannot form the cluster: node 127.0.0.1:1, CLUSTER MEET h: no");
    }
}
