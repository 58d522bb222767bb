//! Memory that clients of one worker use in turns: an idle client owns none of it.

use super::output::Own;
use super::reorder::Reorder;
use crate::resp::scan::RequestScanner;
use crate::tenant::rewrite::Rewriter;

/// A worker's spare reorder buffers and output buffers, and its scanner.
#[derive(Default, Debug)]
#[expect(clippy::vec_box, reason = "a client keeps the box: it is handed over as it is")]
pub struct Spares {
    reorders: Vec<Box<Reorder>>,
    owns: Vec<Box<Own>>,
    /// One is enough: clients are read from one after the other.
    scanner: RequestScanner,
    /// Where requests are written anew.
    rewriter: Rewriter,
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

    /// A scanner that has seen nothing.
    pub fn take_scanner(&mut self) -> RequestScanner {
        std::mem::take(&mut self.scanner)
    }

    /// Takes back a scanner, whatever it has seen.
    pub fn give_scanner(&mut self, mut scanner: RequestScanner) {
        scanner.reset();
        self.scanner = scanner;
    }

    /// An empty output buffer.
    pub fn take_own(&mut self) -> Box<Own> {
        self.owns.pop().unwrap_or_default()
    }

    /// What rewrites requests; to be given back behind the request.
    pub fn take_rewriter(&mut self) -> Rewriter {
        std::mem::take(&mut self.rewriter)
    }

    /// Takes it back.
    pub fn give_rewriter(&mut self, mut rewriter: Rewriter) {
        rewriter.rest();
        self.rewriter = rewriter;
    }

    /// Takes back an output buffer, whatever is in it.
    pub fn give_own(&mut self, own: Box<Own>) {
        if self.owns.len() < SPARES
            && let Some(own) = own.recycle(SPARE_BYTES)
        {
            self.owns.push(own);
        }
    }
}
