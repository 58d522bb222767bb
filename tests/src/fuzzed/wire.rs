//! Requests and replies, in pieces.

use slotway::resp::reply::{ReplyScan, ReplyScanner};
use slotway::resp::scan::{RequestLimits, RequestScanner, Scan};

const LIMITS: RequestLimits = RequestLimits { args: 64, bulk: 256, frame: 4_096, value: usize::MAX };

/// The first byte is the size of a piece. In pieces a request is what it is as a whole, and canonical.
pub fn request(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let mut whole = RequestScanner::default();
    let found = whole.scan(bytes, &LIMITS);
    let mut scanner = RequestScanner::default();
    let mut end = 0;
    let in_pieces = loop {
        let scanned = scanner.scan(&bytes[..end], &LIMITS);
        if end == bytes.len() || !matches!(scanned, Ok(Scan::Incomplete(_))) {
            break scanned;
        }
        end = bytes.len().min(end + usize::from(*piece) + 1);
    };
    // A number that can be none is refused at once or with the end of its line, by where it was cut.
    let is_found = |scanned: &Result<_, _>| !matches!(scanned, Err(_) | Ok(Scan::Incomplete(_)));
    assert_eq!(is_found(&in_pieces), is_found(&found), "{in_pieces:?} {found:?}");
    let Ok(Scan::Request(len)) = found else { return };
    assert_eq!(in_pieces, found);
    if bytes[0] == b'*' {
        let args: Vec<&[u8]> = whole.request(bytes).args_from(0).collect();
        assert_eq!(frame(&args), &bytes[..len], "not canonical");
    }
}

/// The first byte is the size of a piece. In pieces, and with what was scanned given back, a reply ends where it ends as a
/// whole.
pub fn reply(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let whole = ReplyScanner::default().scan(bytes);
    let mut scanner = ReplyScanner::default();
    let (mut begin, mut end) = (0, 0);
    let in_pieces = loop {
        let scanned = scanner.scan(&bytes[begin..end]);
        if end == bytes.len() || !matches!(scanned, Ok(ReplyScan::Incomplete)) {
            break scanned;
        }
        let gone = scanner.scanned();
        scanner.forget(gone);
        begin += gone;
        end = bytes.len().min(end + usize::from(*piece) + 1);
    };
    match (whole, in_pieces) {
        (Ok(ReplyScan::Complete(len)), Ok(ReplyScan::Complete(rest))) => assert_eq!(len, begin + rest),
        (Ok(ReplyScan::Complete(_)), other) | (other, Ok(ReplyScan::Complete(_))) => {
            panic!("whole or in pieces: {other:?}")
        }
        // What can be no reply is refused at once or with the end of its line, by where it was cut.
        (Ok(ReplyScan::Incomplete) | Err(_), Ok(ReplyScan::Incomplete) | Err(_)) => {}
    }
}

/// A canonical request.
pub(super) fn frame(args: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
