//! Where a reply ends that arrives in pieces: for discovery's own connection.

/// Finds the end of one reply. Goes on where it stopped, so that each byte is looked at once.
#[derive(Debug)]
pub(super) struct FrameEnd {
    /// Where the next value's first byte is or will be.
    at: usize,
    /// Values still to come of each list that is open, the outermost first.
    open: Vec<u64>,
}

/// Why bytes are no reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// Lists in each other beyond [`MAX_DEPTH`].
    #[error("reply nested too deeply")]
    TooDeep,
    /// A length or count that is none.
    #[error("bad length in reply")]
    BadLength,
    /// A line of more than [`MAX_LINE`] bytes, or not ended by CR LF.
    #[error("bad line in reply")]
    BadLine,
    /// A first byte that begins no value.
    #[error("unknown reply type 0x{0:02x}")]
    UnknownType(u8),
}

const MAX_DEPTH: usize = 1024;
const MAX_LINE: usize = 64 << 10;
/// Of a string or a list: far more than the reader takes in.
const MAX_LENGTH: u64 = 1 << 32;

impl FrameEnd {
    pub(super) fn new() -> Self {
        Self { at: 0, open: vec![1] }
    }

    /// Where the reply at the start of `bytes` ends, or `None` while more must come. `bytes` may only grow
    /// between two calls.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, FrameError> {
        while let Some(missing) = self.open.last_mut() {
            if *missing == 0 {
                self.open.pop();
                continue;
            }
            let Some(value) = read_head(bytes.get(self.at..).unwrap_or_default())? else { return Ok(None) };
            if !value.is_attribute {
                *missing -= 1;
            }
            if value.items > 0 {
                if self.open.len() >= MAX_DEPTH {
                    return Err(FrameError::TooDeep);
                }
                self.open.push(value.items);
            }
            self.at += value.len;
        }
        Ok((self.at <= bytes.len()).then_some(self.at))
    }
}

struct Head {
    /// Bytes of the line, and of the string behind it.
    len: usize,
    /// Values that follow as this value's own.
    items: u64,
    /// An attribute comes before the value that counts.
    is_attribute: bool,
}

fn read_head(bytes: &[u8]) -> Result<Option<Head>, FrameError> {
    let searched = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(feed) = memchr::memchr(b'\n', searched) else {
        return if bytes.len() >= MAX_LINE { Err(FrameError::BadLine) } else { Ok(None) };
    };
    let line = bytes[..feed].strip_suffix(b"\r").ok_or(FrameError::BadLine)?;
    let (&kind, digits) = line.split_first().ok_or(FrameError::BadLine)?;
    let (string, items) = match kind {
        b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => (0, 0),
        b'$' | b'!' | b'=' => (length(digits)?.map_or(0, |len| len + 2), 0),
        b'*' | b'~' | b'>' => (0, length(digits)?.unwrap_or(0)),
        b'%' | b'|' => (0, length(digits)?.unwrap_or(0) * 2),
        other => return Err(FrameError::UnknownType(other)),
    };
    let len = usize::try_from(string).map_err(|_| FrameError::BadLength)? + feed + 1;
    Ok(Some(Head { len, items, is_attribute: kind == b'|' }))
}

/// `None` for the null of RESP2, -1.
fn length(digits: &[u8]) -> Result<Option<u64>, FrameError> {
    if digits == b"-1" {
        return Ok(None);
    }
    let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    number.filter(|&number| number < MAX_LENGTH).map(Some).ok_or(FrameError::BadLength)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLIES: [&[u8]; 7] = [
        include_bytes!("fixtures/redis-7.0.shards.resp2"),
        include_bytes!("fixtures/redis-7.0-unknown.slots.resp3"),
        include_bytes!("fixtures/valkey-9.1.hello3"),
        b"*0\r\n",
        b"$-1\r\n",
        b"*2\r\n*-1\r\n$0\r\n\r\n",
        b"|1\r\n+a\r\n*1\r\n:1\r\n%1\r\n_\r\n=5\r\ntxt:\n\r\n",
    ];

    #[test]
    fn the_end_is_found_whatever_the_pieces_and_whatever_follows() {
        for reply in REPLIES {
            let mut with_more = reply.to_vec();
            with_more.extend_from_slice(b"+OK\r\n");
            assert_eq!(FrameEnd::new().find(&with_more), Ok(Some(reply.len())));
            let mut end = FrameEnd::new();
            for cut in 0..reply.len() {
                assert_eq!(end.find(&reply[..cut]), Ok(None), "cut at {cut}");
            }
            assert_eq!(end.find(reply), Ok(Some(reply.len())));
        }
    }

    #[test]
    fn hostile_shapes_are_refused() {
        assert_eq!(FrameEnd::new().find(&b"*1\r\n".repeat(2000)), Err(FrameError::TooDeep));
        assert_eq!(FrameEnd::new().find(&b"|0\r\n".repeat(2000)), Ok(None), "but costs nothing");
        assert_eq!(FrameEnd::new().find(b"*99999999999999999999\r\n"), Err(FrameError::BadLength));
        assert_eq!(FrameEnd::new().find(b"$4294967296\r\n"), Err(FrameError::BadLength));
        assert_eq!(FrameEnd::new().find(b"$-2\r\n"), Err(FrameError::BadLength));
        assert_eq!(FrameEnd::new().find(b"+OK\n"), Err(FrameError::BadLine));
        assert_eq!(FrameEnd::new().find(&vec![b'+'; MAX_LINE]), Err(FrameError::BadLine));
        assert_eq!(FrameEnd::new().find(b"HTTP/1.1 200\r\n"), Err(FrameError::UnknownType(b'H')));
    }
}
