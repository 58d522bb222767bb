//! Requests as the proxy sees them, for the micro-benches.

use slotway::resp::request::{ArgRange, Request};
use slotway::resp::scan::RequestLimits;

/// What an authenticated client may send by default.
#[allow(dead_code, reason = "each bench is a program of its own and uses what it needs")]
pub(crate) const LIMITS: RequestLimits =
    RequestLimits { args: 1 << 20, bulk: 512 << 20, frame: 1 << 30, value: usize::MAX };

/// A request with its bytes.
pub(crate) struct Owned {
    bytes: Vec<u8>,
    argv: Vec<ArgRange>,
}

impl Owned {
    /// An array of bulk strings.
    pub(crate) fn new(argv: &[&[u8]]) -> Self {
        let mut bytes = format!("*{}\r\n", argv.len()).into_bytes();
        let mut ranges = Vec::new();
        for arg in argv {
            bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            ranges.push(ArgRange { start: bytes.len() as u32, len: arg.len() as u32 });
            bytes.extend_from_slice(arg);
            bytes.extend_from_slice(b"\r\n");
        }
        Self { bytes, argv: ranges }
    }

    /// As the scanner gives it.
    #[allow(dead_code, reason = "each bench is a program of its own and uses what it needs")]
    pub(crate) fn request(&self) -> Request<'_> {
        Request::new(&self.bytes, &self.argv)
    }

    /// As it comes from the network.
    #[allow(dead_code, reason = "each bench is a program of its own and uses what it needs")]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// MGET of this many keys, in slots all over.
#[allow(dead_code, reason = "each bench is a program of its own and uses what it needs")]
pub(crate) fn mget(keys: usize) -> Owned {
    let names: Vec<String> = (0..keys).map(|n| format!("key:{:012}", n * 7919)).collect();
    let mut argv: Vec<&[u8]> = vec![b"MGET"];
    argv.extend(names.iter().map(String::as_bytes));
    Owned::new(&argv)
}
