//! Requests of a plan: single ones, and transactions that a server runs as one.

use super::Call;
use crate::cluster::slot::Slot;
use crate::resp::protocol::Protocol;
use crate::resp::reply_writer::ReplyWriter;

/// Appends a request of these words.
pub fn write(frame: &mut Vec<u8>, words: &[&[u8]]) {
    let mut writer = ReplyWriter::new(frame, Protocol::Resp2);
    writer.array(words.len());
    words.iter().for_each(|word| writer.bulk(word));
}

impl Call {
    /// A request of these words.
    #[must_use]
    pub fn of(slot: Slot, words: &[&[u8]]) -> Self {
        let mut frame = Vec::with_capacity(words.iter().map(|word| word.len() + 16).sum());
        write(&mut frame, words);
        Self { slot, primary: None, frame, leads: 0 }
    }
}

/// A transaction: its reply is the array of its requests' replies, or an error where one was refused, and then
/// none ran.
#[derive(Debug)]
pub struct Block {
    frame: Vec<u8>,
    queued: u32,
}

impl Block {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self { frame: b"*1\r\n$5\r\nMULTI\r\n".to_vec(), queued: 0 }
    }

    /// Adds a request of these words.
    pub fn push(&mut self, words: &[&[u8]]) {
        write(&mut self.frame, words);
        self.queued += 1;
    }

    /// Its whole, for the node of `slot`.
    #[must_use]
    pub fn call(mut self, slot: Slot) -> Call {
        self.frame.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
        Call { slot, primary: None, frame: self.frame, leads: self.queued + 1 }
    }
}

impl Default for Block {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_counts_what_comes_before_its_reply() {
        let mut block = Block::new();
        block.push(&[b"GET", b"a"]);
        block.push(&[b"GET", b"b"]);
        let call = block.call(Slot::FIXED);
        assert_eq!(call.leads, 3, "OK, QUEUED, QUEUED");
        let text = String::from_utf8(call.frame).unwrap().replace("\r\n", " ");
        assert_eq!(text, "*1 $5 MULTI *2 $3 GET $1 a *2 $3 GET $1 b *1 $4 EXEC ");
    }
}
