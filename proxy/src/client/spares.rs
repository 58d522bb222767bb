//! Memory that clients of one worker use in turns: an idle client owns none of it.

use super::replies::Reorder;

/// A worker's spare reorder buffers and output buffers.
#[derive(Default, Debug)]
#[expect(clippy::vec_box, reason = "a client keeps the box: it is handed over as it is")]
pub struct Spares {
    reorders: Vec<Box<Reorder>>,
    buffers: Vec<Vec<u8>>,
}

// Enough for the clients that one turn touches, and few enough to be forgotten: 2 MiB each at the most.
const SPARES: usize = 128;
const SPARE_BYTES: usize = 16 * 1024;

impl Spares {
    /// An empty reorder buffer.
    pub fn take_reorder(&mut self) -> Box<Reorder> {
        self.reorders.pop().unwrap_or_default()
    }

    /// Takes back an empty reorder buffer.
    pub fn give_reorder(&mut self, reorder: Box<Reorder>) {
        if self.reorders.len() < SPARES
            && let Some(reorder) = reorder.recycle(SPARE_BYTES)
        {
            self.reorders.push(reorder);
        }
    }

    /// An empty byte buffer.
    pub fn take_buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    /// Takes back a byte buffer.
    pub fn give_buffer(&mut self, mut buffer: Vec<u8>) {
        if self.buffers.len() < SPARES && (1..=SPARE_BYTES).contains(&buffer.capacity()) {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}
