//! The scanners against redis-protocol as the oracle, on random frames, mutated frames and garbage; cut at
//! every byte and fed byte by byte.
//!
//! Where ours is stricter than the oracle, and on purpose:
//! * requests: only a flat array of bulk strings, none of them null; canonical lengths (no `+1`, `01`, `-0`);
//!   the CRLF behind a payload is looked at; counts and lengths have limits. Together: a frame is accepted if
//!   and only if the oracle reads that shape from it and writes the very same bytes again.
//! * replies: canonical lengths; the CRLF behind a payload; no lone CR in a line; lines up to 64 KiB; 1,024
//!   levels; no streamed types (`$?`), which no server sends.
//!
//! Where ours is laxer:
//! * requests: a negative count asks nothing, as in the servers; a first byte that is no `*` begins an inline
//!   command.
//! * replies: what stands in a line (`:x`) or before a verbatim string's colon is the client's to judge; a map
//!   may have any keys, a null any attribute; RESP2's nulls may come in RESP3.

use proptest::collection::vec;
use proptest::prelude::*;
use redis_protocol::resp2::types::OwnedFrame;
use redis_protocol::{resp2, resp3};
use slotway::resp::inline;
use slotway::resp::reply::{DEPTH_LIMIT, ReplyScan, ReplyScanner};
use slotway::resp::scan::{INLINE_LIMIT, ProtocolError, RequestLimits, RequestScanner, Scan};

const LIMITS: RequestLimits = RequestLimits { args: 64, bulk: 4_096, frame: 16_384, value: usize::MAX };

/// What one buffer means to the scanner, with the arguments of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Outcome {
    Request { argv: Vec<Vec<u8>>, len: usize },
    Inline(usize),
    Nothing(usize),
    Incomplete,
    Error(ProtocolError),
}

fn scan_with(scanner: &mut RequestScanner, buf: &[u8]) -> Outcome {
    match scanner.scan(buf, &LIMITS) {
        Ok(Scan::Request(len)) => {
            let request = scanner.request(buf);
            assert_eq!(request.frame(), &buf[..len]);
            Outcome::Request { argv: request.args_from(0).map(<[u8]>::to_vec).collect(), len }
        }
        Ok(Scan::Inline(len)) => Outcome::Inline(len),
        Ok(Scan::Nothing(len)) => Outcome::Nothing(len),
        Ok(Scan::Incomplete(need)) => {
            assert!(need > buf.len(), "{need} bytes are there");
            assert!(need <= LIMITS.frame.max(buf.len() + 1), "asks for {need} bytes");
            Outcome::Incomplete
        }
        Err(error) => Outcome::Error(error),
    }
}

fn scan(buf: &[u8]) -> Outcome {
    scan_with(&mut RequestScanner::default(), buf)
}

/// As [`scan`], the bytes coming one by one: what the first byte that settles it makes of it.
fn scan_bytewise(buf: &[u8]) -> Outcome {
    let mut scanner = RequestScanner::default();
    let outcomes = (0..=buf.len()).map(|len| scan_with(&mut scanner, &buf[..len]));
    let mut settled = outcomes.skip_while(|outcome| *outcome == Outcome::Incomplete);
    settled.next().unwrap_or(Outcome::Incomplete)
}

fn canonical(argv: &[Vec<u8>]) -> Vec<u8> {
    let mut frame = format!("*{}\r\n", argv.len()).into_bytes();
    for arg in argv {
        frame.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        frame.extend_from_slice(arg);
        frame.extend_from_slice(b"\r\n");
    }
    frame
}

/// The arguments, if `frame` has a request's shape.
fn argv_of(frame: OwnedFrame) -> Option<Vec<Vec<u8>>> {
    let OwnedFrame::Array(elements) = frame else { return None };
    let arg = |element| if let OwnedFrame::BulkString(bytes) = element { Some(bytes) } else { None };
    let argv = elements.into_iter().map(arg).collect::<Option<Vec<_>>>()?;
    (!argv.is_empty()).then_some(argv)
}

fn within_limits(argv: &[Vec<u8>], len: usize) -> bool {
    argv.len() <= LIMITS.args && len <= LIMITS.frame && argv.iter().all(|arg| arg.len() <= LIMITS.bulk)
}

/// Compares both sides on bytes that begin like a request. See the module for the differences.
fn agree_on_a_request(buf: &[u8]) {
    let ours = scan(buf);
    match resp2::decode::decode(buf) {
        Ok(Some((frame, len))) => {
            let argv =
                argv_of(frame).filter(|argv| canonical(argv) == buf[..len] && within_limits(argv, len));
            match argv {
                Some(argv) => assert_eq!(ours, Outcome::Request { argv, len }),
                None if buf.starts_with(b"*0\r") || buf.starts_with(b"*-1\r") => {
                    assert_eq!(ours, Outcome::Nothing(len));
                }
                None => assert!(matches!(ours, Outcome::Error(_)), "{ours:?}"),
            }
        }
        Ok(None) => assert!(matches!(ours, Outcome::Incomplete | Outcome::Error(_)), "{ours:?}"),
        Err(_) if matches!(ours, Outcome::Nothing(_)) => assert!(buf.starts_with(b"*-"), "{ours:?}"),
        Err(_) => assert!(matches!(ours, Outcome::Error(_)), "{ours:?}"),
    }
    match (scan_bytewise(buf), &ours) {
        // What is wrong with the line was seen before its CR came; with the CR there its LF is waited for first.
        (Outcome::Error(_), Outcome::Incomplete) if buf.ends_with(b"\r") => {
            assert!(matches!(scan(&[buf, b"\n"].concat()), Outcome::Error(_)));
        }
        (bytewise, _) => assert_eq!(bytewise, ours),
    }
}

fn args() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let arg = prop_oneof![
        4 => vec(any::<u8>(), 0..24),
        // What looks like the protocol itself.
        2 => vec(prop::sample::select(b"\r\n$*0123".to_vec()), 0..12),
        1 => vec(any::<u8>(), 90..130),
    ];
    vec(arg, 1..12)
}

/// Bytes where a length belongs: valid, nearly valid, endless.
fn length() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof!["[0-9]{1,3}", "[+ -]?0?[0-9]{1,20}[ x]?", "-?[0-9]{28,36}", "[0-9]\r[0-9]", ""]
        .prop_map(String::into_bytes)
}

/// One change of a frame.
#[derive(Clone, Debug)]
enum Mutation {
    Set(u8),
    Insert(Vec<u8>),
    Remove(usize),
    Cut,
}

fn mutations() -> impl Strategy<Value = Vec<(prop::sample::Index, Mutation)>> {
    let piece = prop_oneof![
        vec(prop::sample::select(b"\r\n$*+-:0123456789".to_vec()), 1..4),
        length(),
        vec(any::<u8>(), 1..4),
    ];
    let mutation = prop_oneof![
        prop::sample::select(b"\r\n$*+-:019 x\0\xff".to_vec()).prop_map(Mutation::Set),
        piece.prop_map(Mutation::Insert),
        (1..4usize).prop_map(Mutation::Remove),
        Just(Mutation::Cut),
    ];
    vec((any::<prop::sample::Index>(), mutation), 1..4)
}

fn mutate(bytes: &mut Vec<u8>, mutations: &[(prop::sample::Index, Mutation)], keep: usize) {
    for (place, mutation) in mutations {
        if bytes.len() <= keep {
            return;
        }
        let at = keep + place.index(bytes.len() - keep);
        match mutation {
            Mutation::Set(byte) => bytes[at] = *byte,
            Mutation::Insert(piece) => drop(bytes.splice(at..at, piece.iter().copied())),
            Mutation::Remove(count) => drop(bytes.drain(at..(at + count).min(bytes.len()))),
            Mutation::Cut => bytes.truncate(at),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_is_read_as_the_oracle_reads_it_wherever_it_is_cut(argv in args(), behind in vec(any::<u8>(), 0..8)) {
        let frame = canonical(&argv);
        agree_on_a_request(&frame);
        let mut stream = frame.clone();
        stream.extend_from_slice(&behind);
        for cut in 0..frame.len() {
            let mut scanner = RequestScanner::default();
            prop_assert_eq!(scan_with(&mut scanner, &stream[..cut]), Outcome::Incomplete);
            let whole = scan_with(&mut scanner, &stream);
            prop_assert_eq!(whole, Outcome::Request { argv: argv.clone(), len: frame.len() });
        }
    }

    #[test]
    fn an_announced_need_is_never_more_than_the_request(argv in args()) {
        let frame = canonical(&argv);
        for cut in 0..frame.len() {
            let found = RequestScanner::default().scan(&frame[..cut], &LIMITS);
            prop_assert!(matches!(found, Ok(Scan::Incomplete(need)) if need > cut && need <= frame.len()));
        }
    }

    #[test]
    fn requests_of_a_pipeline_are_found_one_after_the_other_however_it_is_cut(
        pipeline in vec(args(), 1..6),
        cuts in vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let stream: Vec<u8> = pipeline.iter().flat_map(|argv| canonical(argv)).collect();
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len())).chain([stream.len()]).collect();
        ends.sort_unstable();
        // As a client's task does it: what was cut off stays, with its scanner, for the next read.
        let (mut scanner, mut start, mut found) = (RequestScanner::default(), 0, Vec::new());
        for end in ends {
            while let Outcome::Request { argv, len } = scan_with(&mut scanner, &stream[start..end]) {
                found.push(argv);
                start += len;
                scanner.reset();
            }
        }
        prop_assert_eq!(found, pipeline);
    }

    #[test]
    fn a_mutated_request_is_accepted_only_if_canonical(argv in args(), mutations in mutations()) {
        let mut bytes = canonical(&argv);
        mutate(&mut bytes, &mutations, 1);
        agree_on_a_request(&bytes);
    }

    #[test]
    fn any_count_and_length_is_judged_the_same(count in length(), len in length(), behind in vec(any::<u8>(), 0..40)) {
        let bytes = [b"*", &count[..], b"\r\n$", &len, b"\r\n", &behind, b"\r\n"].concat();
        agree_on_a_request(&bytes);
        let bytes = [b"*1\r\n$", &len[..], b"\r\n", &behind, b"\r\n"].concat();
        agree_on_a_request(&bytes);
    }

    #[test]
    fn garbage_behind_an_asterisk_is_judged_the_same(behind in vec(any::<u8>(), 0..80)) {
        agree_on_a_request(&[b"*", &behind[..]].concat());
    }

    #[test]
    fn what_begins_with_no_asterisk_is_a_line(first in any::<u8>(), behind in vec(any::<u8>(), 0..80)) {
        prop_assume!(first != b'*');
        let bytes = [&[first][..], &behind].concat();
        let line = bytes.iter().position(|byte| *byte == b'\n');
        let expected = line.map_or(Outcome::Incomplete, |end| Outcome::Inline(end + 1));
        prop_assert_eq!(&scan(&bytes), &expected);
        prop_assert_eq!(scan_bytewise(&bytes), expected);
    }

    #[test]
    fn a_line_of_words_becomes_a_canonical_request(line in vec(any::<u8>(), 0..80)) {
        let Ok(frame) = inline::canonical(&line) else { return Ok(()) };
        match scan(&frame) {
            Outcome::Request { argv, len } => {
                prop_assert_eq!(len, frame.len());
                prop_assert_eq!(canonical(&argv), frame);
            }
            outcome => prop_assert!(frame.is_empty() && outcome == Outcome::Incomplete),
        }
    }
}

#[test]
fn limits_are_exact() {
    let args = |count: usize, len: usize| canonical(&vec![vec![b'x'; len]; count]);
    for (frame, accepted) in [
        (args(LIMITS.args, 1), true),
        (args(LIMITS.args + 1, 1), false),
        (args(1, LIMITS.bulk), true),
        (args(1, LIMITS.bulk + 1), false),
        (args(3, 4_096), true),
        (args(4, 4_096), false),
    ] {
        assert_eq!(matches!(scan(&frame), Outcome::Request { .. }), accepted, "{} bytes", frame.len());
    }
    let mut line = vec![b'x'; INLINE_LIMIT - 1];
    line.push(b'\n');
    assert_eq!(scan(&line), Outcome::Inline(INLINE_LIMIT));
    line.insert(0, b'x');
    assert_eq!(scan(&line), Outcome::Error(ProtocolError::TooBigInline));
    assert_eq!(scan(&line[..INLINE_LIMIT]), Outcome::Error(ProtocolError::TooBigInline));
}

/// A random reply.
#[derive(Clone, Debug)]
enum Tree {
    /// A line with its type byte.
    Line(String),
    /// `$`, `!` or `=`.
    Bulk(char, Vec<u8>),
    /// `$-1` or `*-1`.
    Nil(char),
    /// `*`, `~` or `>`.
    List(char, Vec<Self>),
    /// `%`.
    Map(Vec<(Self, Self)>),
    /// `|` before a reply.
    Attributed(Vec<(Self, Self)>, Box<Self>),
}

impl Tree {
    fn write(&self, out: &mut Vec<u8>) {
        let mut header =
            |kind: char, len: usize| out.extend_from_slice(format!("{kind}{len}\r\n").as_bytes());
        match self {
            Self::Line(line) => out.extend_from_slice(format!("{line}\r\n").as_bytes()),
            Self::Nil(kind) => out.extend_from_slice(format!("{kind}-1\r\n").as_bytes()),
            Self::Bulk('=', bytes) => {
                header('=', bytes.len() + 4);
                out.extend_from_slice(&[b"txt:", &bytes[..], b"\r\n"].concat());
            }
            Self::Bulk(kind, bytes) => {
                header(*kind, bytes.len());
                out.extend_from_slice(&[bytes, &b"\r\n"[..]].concat());
            }
            Self::List(kind, elements) => {
                header(*kind, elements.len());
                elements.iter().for_each(|element| element.write(out));
            }
            Self::Map(entries) => {
                header('%', entries.len());
                write_entries(entries, out);
            }
            Self::Attributed(attributes, reply) => {
                header('|', attributes.len());
                write_entries(attributes, out);
                reply.write(out);
            }
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}

fn write_entries(entries: &[(Tree, Tree)], out: &mut Vec<u8>) {
    for (key, value) in entries {
        key.write(out);
        value.write(out);
    }
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..20),
        2 => vec(prop::sample::select(b"\r\n$*0123".to_vec()), 0..12),
        1 => vec(any::<u8>(), 95..105),
    ]
}

/// Replies of RESP2.
fn resp2_reply() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        "[+-][ -~]{0,20}".prop_map(Tree::Line),
        any::<i64>().prop_map(|number| Tree::Line(format!(":{number}"))),
        payload().prop_map(|bytes| Tree::Bulk('$', bytes)),
        prop::sample::select(vec!['$', '*']).prop_map(Tree::Nil),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| vec(inner, 0..6).prop_map(|elements| Tree::List('*', elements)))
}

fn resp3_leaf() -> impl Strategy<Value = Tree> {
    prop_oneof![
        "[+-][ -~]{0,20}".prop_map(Tree::Line),
        prop_oneof![
            ":-?[1-9][0-9]{0,17}",
            ",-?[0-9]{1,5}\\.[0-9]{1,5}",
            ",-?inf",
            "\\([1-9][0-9]{0,40}",
            "#[tf]",
            "_"
        ]
        .prop_map(Tree::Line),
        (prop::sample::select(vec!['$', '!', '=']), "[ -~\r\n]{0,30}")
            .prop_map(|(kind, text)| Tree::Bulk(kind, text.into_bytes())),
        payload().prop_map(|bytes| Tree::Bulk('$', bytes)),
    ]
}

/// Replies of RESP3, as far as the oracle knows them: scalar keys, no attributes on a null.
fn resp3_reply() -> impl Strategy<Value = Tree> {
    resp3_leaf().prop_recursive(5, 48, 6, |inner| {
        let entries = vec((resp3_leaf(), inner.clone()), 0..4).boxed();
        prop_oneof![
            (prop::sample::select(vec!['*', '>']), vec(inner.clone(), 0..6))
                .prop_map(|(kind, elements)| Tree::List(kind, elements)),
            vec(resp3_leaf(), 0..5).prop_map(|elements| Tree::List('~', elements)),
            entries.clone().prop_map(Tree::Map),
            (entries, vec(inner, 0..3))
                .prop_map(|(attributes, list)| Tree::Attributed(attributes, Box::new(Tree::List('*', list)))),
        ]
    })
}

fn scan_reply(buf: &[u8]) -> Option<Option<usize>> {
    match ReplyScanner::default().scan(buf) {
        Ok(ReplyScan::Complete(len)) => Some(Some(len)),
        Ok(ReplyScan::Incomplete) => Some(None),
        Err(_) => None,
    }
}

fn check_cuts(reply: &[u8]) {
    let stream = [reply, b"+NEXT\r\n"].concat();
    for cut in 0..reply.len() {
        let mut scanner = ReplyScanner::default();
        assert_eq!(scanner.scan(&stream[..cut]), Ok(ReplyScan::Incomplete), "cut at {cut}");
        assert_eq!(scanner.scan(&stream), Ok(ReplyScan::Complete(reply.len())), "cut at {cut}");
    }
}

/// Passes replies on as a backend connection does, in pieces that are forgotten once they were scanned.
/// Returns what was passed on of each reply.
fn stream_in_pieces(stream: &[u8], mut ends: Vec<usize>) -> Vec<Vec<u8>> {
    ends.push(stream.len());
    ends.sort_unstable();
    let (mut scanner, mut buf, mut at) = (ReplyScanner::default(), Vec::new(), 0);
    let mut replies = vec![Vec::new()];
    for end in ends {
        buf.extend_from_slice(&stream[at..end]);
        at = end;
        loop {
            let (piece, complete) = match scanner.scan(&buf).expect("replies are valid") {
                ReplyScan::Complete(len) => (len, true),
                ReplyScan::Incomplete => (scanner.scanned(), false),
            };
            replies.last_mut().expect("one is begun").extend(buf.drain(..piece));
            if !complete {
                scanner.forget(piece);
                break;
            }
            scanner.reset();
            replies.push(Vec::new());
        }
    }
    assert!(buf.is_empty() && replies.pop().is_some_and(|rest| rest.is_empty()), "bytes are left");
    replies
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_resp2_reply_ends_where_the_oracle_says(reply in resp2_reply()) {
        let bytes = reply.bytes();
        let (_, len) = resp2::decode::decode(&bytes).unwrap().unwrap();
        prop_assert_eq!(len, bytes.len());
        check_cuts(&bytes);
    }

    #[test]
    fn a_resp3_reply_ends_where_the_oracle_says(reply in resp3_reply()) {
        let bytes = reply.bytes();
        let (_, len) = resp3::decode::complete::decode(&bytes).unwrap().unwrap();
        prop_assert_eq!(len, bytes.len());
        check_cuts(&bytes);
    }

    #[test]
    fn replies_streamed_in_pieces_lose_no_byte_and_none_gets_anothers(
        replies in vec(prop_oneof![resp2_reply(), resp3_reply()], 1..5),
        cuts in vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let replies: Vec<_> = replies.iter().map(Tree::bytes).collect();
        let stream = replies.concat();
        let cuts = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        prop_assert_eq!(&stream_in_pieces(&stream, cuts), &replies);
        prop_assert_eq!(&stream_in_pieces(&stream, (0..stream.len()).collect()), &replies);
    }

    #[test]
    fn a_mutated_reply_that_both_accept_ends_at_the_same_byte(
        reply in prop_oneof![resp2_reply(), resp3_reply()],
        mutations in mutations(),
    ) {
        let mut bytes = reply.bytes();
        mutate(&mut bytes, &mutations, 0);
        let ours = scan_reply(&bytes);
        if let Some(Some(len)) = ours {
            if let Ok(Some((_, theirs))) = resp2::decode::decode(&bytes) {
                prop_assert_eq!(len, theirs);
            }
            if let Ok(Some((_, theirs))) = resp3::decode::complete::decode(&bytes) {
                prop_assert_eq!(len, theirs);
            }
        }
        // What is refused or waited for whole is refused or waited for in pieces, a line at its CR excepted.
        let mut scanner = ReplyScanner::default();
        let mut found = (0..=bytes.len()).map(|len| scanner.scan(&bytes[..len]));
        let settled = found.find(|found| *found != Ok(ReplyScan::Incomplete));
        match settled {
            Some(Err(_)) => prop_assert!(ours.is_none() || (ours == Some(None) && bytes.ends_with(b"\r"))),
            Some(Ok(_)) => prop_assert!(ours.flatten().is_some()),
            None => prop_assert_eq!(ours, Some(None)),
        }
    }

    #[test]
    fn a_length_that_is_none_ends_a_reply_at_once(kind in prop::sample::select(b"$!=*~>%|".to_vec()), len in length()) {
        let bytes = [&[kind][..], &len, b"\r\n"].concat();
        let number = std::str::from_utf8(&len).ok().and_then(|text| text.parse::<i64>().ok());
        let canonical = number.filter(|number| number.to_string().as_bytes() == len);
        let accepted = canonical.is_some_and(|number| (-1..1 << 48).contains(&number));
        prop_assert_eq!(scan_reply(&bytes).is_some(), accepted);
    }

    #[test]
    fn garbage_never_panics(bytes in vec(any::<u8>(), 0..200), cuts in vec(any::<prop::sample::Index>(), 0..8)) {
        let mut scanner = ReplyScanner::default();
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([bytes.len()]).collect();
        ends.sort_unstable();
        for end in ends {
            match scanner.scan(&bytes[..end]) {
                Ok(ReplyScan::Complete(len)) => {
                    prop_assert!(len <= end);
                    break;
                }
                Ok(ReplyScan::Incomplete) => prop_assert!(scanner.scanned() <= end),
                Err(_) => break,
            }
        }
    }
}

#[test]
fn replies_that_the_oracle_cannot_read_end_where_they_end() {
    for reply in [
        &b"%1\r\n*1\r\n:1\r\n+value\r\n"[..],
        b"~1\r\n*2\r\n:1\r\n:2\r\n",
        b"|1\r\n+a\r\n:1\r\n_\r\n",
        b"|1\r\n+a\r\n:1\r\n|1\r\n+b\r\n:2\r\n+twice\r\n",
        b"=5\r\nxyz:a\r\n",
        b"!-1\r\n",
    ] {
        check_cuts(reply);
    }
}

#[test]
fn streamed_types_are_refused() {
    for reply in [&b"$?\r\n"[..], b"*?\r\n", b";4\r\nabcd\r\n", b".\r\n"] {
        assert_eq!(scan_reply(reply), None, "{}", reply.escape_ascii());
    }
}

#[test]
fn depth_is_bounded_where_the_oracle_would_overflow_its_stack() {
    for header in ["*1\r\n", "~1\r\n", ">1\r\n", "%1\r\n+k\r\n"] {
        let nested = |depth: usize| [header.repeat(depth).as_bytes(), b":1\r\n"].concat();
        assert_eq!(scan_reply(&nested(DEPTH_LIMIT)), Some(Some(nested(DEPTH_LIMIT).len())));
        assert_eq!(scan_reply(&nested(DEPTH_LIMIT + 1)), None);
        assert_eq!(scan_reply(&nested(200_000)), None);
    }
}
