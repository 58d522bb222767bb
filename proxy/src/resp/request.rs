//! A request: one flat array of bulk strings, seen in place.

use std::fmt;

/// A complete request as it lies in a read buffer: `argv[0]` is the command's name.
///
/// Holds at least one argument. Byte ranges fit in u32 since a request's size is limited far below 4 GiB.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    bytes: &'a [u8],
    argv: &'a [ArgRange],
}

/// Where an argument's bytes lie in its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArgRange {
    /// Offset of the first byte from the frame's start.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

impl<'a> Request<'a> {
    /// A view of the frame `bytes`, whose arguments lie at `argv`; `argv` is not empty.
    #[must_use]
    pub fn new(bytes: &'a [u8], argv: &'a [ArgRange]) -> Self {
        debug_assert!(!argv.is_empty(), "a request has a name");
        Self { bytes, argv }
    }

    /// The whole frame: canonical RESP, ready to be forwarded.
    #[must_use]
    pub fn frame(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many arguments there are, the command's name included; at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a request is never empty")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.argv.len()
    }

    /// Argument `index`, or `None` past the end.
    #[must_use]
    pub fn arg(&self, index: usize) -> Option<&'a [u8]> {
        let range = self.argv.get(index)?;
        Some(&self.bytes[range.start as usize..(range.start + range.len) as usize])
    }

    /// Argument `index` as it stands in the frame, with its length and CRLFs; empty past the end.
    #[must_use]
    pub fn raw_arg(&self, index: usize) -> &'a [u8] {
        let Some(range) = self.argv.get(index) else { return &[] };
        // `$`, the digits (lengths are canonical), CRLF.
        let header = 1 + range.len.checked_ilog10().unwrap_or(0) as usize + 1 + 2;
        &self.bytes[range.start as usize - header..(range.start + range.len) as usize + 2]
    }

    /// The command's name as the client wrote it.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        self.arg(0).unwrap_or_default()
    }

    /// The request that begins at argument `first`, as in `COMMAND GETKEYS get k`; `None` where there is
    /// none. To be read only: its [`frame`](Self::frame) is still the whole.
    #[must_use]
    pub fn tail(&self, first: usize) -> Option<Self> {
        let argv = self.argv.get(first..).filter(|argv| !argv.is_empty())?;
        Some(Self { bytes: self.bytes, argv })
    }

    /// All arguments from `first` on.
    pub fn args_from(&self, first: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        let argv = self.argv.get(first..).unwrap_or_default();
        argv.iter().map(move |range| &bytes[range.start as usize..(range.start + range.len) as usize])
    }
}

impl fmt::Debug for Request<'_> {
    /// Says the shape only: keys and values are never logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("args", &self.argv.len()).field("bytes", &self.bytes.len()).finish()
    }
}
