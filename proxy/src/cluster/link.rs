//! A little connection of discovery's or the watch's own: one question at a time, the reply whole. Bounded in size; its
//! user bounds the time.

use std::io;
use std::mem;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::resp::reply::{ReplyError, ReplyScan, ReplyScanner};

/// Why there is no reply. The connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// The connection broke.
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
    /// The node closed the connection.
    #[error("connection closed by the node")]
    Closed,
    /// The node sends no RESP.
    #[error(transparent)]
    Frame(#[from] ReplyError),
    /// A reply of more than so many bytes.
    #[error("reply of more than {0} bytes")]
    TooLong(usize),
}

/// A connection with the replies that came before they were asked for.
pub(super) struct Link<S> {
    stream: S,
    buffer: Vec<u8>,
}

/// 16,384 shards of three nodes are 25 MB.
const MAX_REPLY: usize = 64 << 20;
/// How much room a read has at least.
const ROOM: usize = 16 << 10;

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub(super) async fn send(&mut self, requests: &[u8]) -> Result<(), LinkError> {
        Ok(self.stream.write_all(requests).await?)
    }

    /// The next reply, its bytes only.
    pub(super) async fn reply(&mut self) -> Result<Vec<u8>, LinkError> {
        self.reply_within(MAX_REPLY).await
    }

    /// As [`Self::reply`], of at most about so many bytes.
    pub(super) async fn reply_within(&mut self, most: usize) -> Result<Vec<u8>, LinkError> {
        let mut scanner = ReplyScanner::default();
        loop {
            if let ReplyScan::Complete(end) = scanner.scan(&self.buffer)? {
                let rest = self.buffer.split_off(end);
                return Ok(mem::replace(&mut self.buffer, rest));
            }
            if self.buffer.len() >= most {
                return Err(LinkError::TooLong(most));
            }
            self.buffer.reserve(ROOM);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(LinkError::Closed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn replies_come_one_by_one_however_they_are_cut() {
        let (near, mut far) = tokio::io::duplex(3);
        let mut link = Link::new(near);
        let writes = async {
            far.write_all(b"+OK\r\n*2\r\n:1\r\n$2\r\nab\r\n-ERR").await.unwrap();
            drop(far);
        };
        let reads = async {
            assert_eq!(link.reply().await.unwrap(), b"+OK\r\n");
            assert_eq!(link.reply().await.unwrap(), b"*2\r\n:1\r\n$2\r\nab\r\n");
            assert!(matches!(link.reply().await, Err(LinkError::Closed)));
        };
        tokio::join!(writes, reads);
    }

    #[tokio::test]
    async fn a_reply_without_end_is_not_followed() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut link = Link::new(near);
        let writes = async {
            far.write_all(format!("${}\r\n", 100 << 20).as_bytes()).await.unwrap();
            let more = vec![0; 1 << 20];
            while far.write_all(&more).await.is_ok() {}
        };
        let reads = async {
            assert!(matches!(link.reply().await, Err(LinkError::TooLong(MAX_REPLY))));
            drop(link);
        };
        tokio::join!(writes, reads);
    }
}
