//! Which requests may wait in the server for data, and so must not share a connection; how long; and what they
//! would be if they did not wait.

use super::options;
use super::spec::{Keys, Spec, Treatment};
use super::twin::{self, Twin};
use crate::resp::request::Request;
use crate::resp::scan::parse_number;

/// How long a request waits for data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// This many milliseconds.
    Millis(u64),
    /// For ever: a timeout of 0.
    Endless,
    /// Its timeout can't be read here: the server knows what to say of it.
    Unclear,
}

/// Where the timeout stands, and what it is counted in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Timeout {
    /// Seconds with a fraction.
    Seconds(usize),
    /// Whole milliseconds.
    Millis(usize),
}

/// Whether `request` would block: the commands that always may, and XREAD and XREADGROUP with BLOCK among
/// their options.
#[inline]
#[must_use]
pub fn is_blocking(spec: &Spec, request: &Request<'_>) -> bool {
    match spec.keys {
        Keys::Streams => options::blocks(request).next().is_some(),
        _ => spec.treatment == Treatment::Blocking,
    }
}

/// Whether the server takes something away when it answers, so that a lost answer may be a lost element. All
/// but XREAD: XREADGROUP hands entries to the consumer.
#[must_use]
pub fn is_destructive(spec: &Spec) -> bool {
    &*spec.name != "xread"
}

/// How long a request that [`is_blocking`] waits.
#[must_use]
pub fn patience(spec: &Spec, request: &Request<'_>) -> Patience {
    let millis = match timeout(spec, request) {
        None => None,
        Some(Timeout::Seconds(index)) => request.arg(index).and_then(seconds),
        Some(Timeout::Millis(index)) => {
            request.arg(index).and_then(parse_number).and_then(|number| u64::try_from(number).ok())
        }
    };
    match millis {
        None => Patience::Unclear,
        Some(0) => Patience::Endless,
        Some(millis) => Patience::Millis(millis),
    }
}

/// The request with `left` milliseconds as its timeout, at least one.
#[must_use]
pub fn with_patience(spec: &Spec, request: &Request<'_>, left: u64) -> Vec<u8> {
    let left = left.max(1);
    let (place, text) = match timeout(spec, request) {
        None => return request.frame().to_vec(),
        Some(Timeout::Seconds(index)) => (index, format!("{}.{:03}", left / 1000, left % 1000)),
        Some(Timeout::Millis(index)) => (index, left.to_string()),
    };
    let mut frame = format!("*{}\r\n", request.len()).into_bytes();
    for index in 0..request.len() {
        if index == place {
            frame.extend_from_slice(format!("${}\r\n{text}\r\n", text.len()).as_bytes());
        } else {
            frame.extend_from_slice(request.raw_arg(index));
        }
    }
    frame
}

/// The request that does the same where there is data, and otherwise answers empty; `None` where there is none.
#[must_use]
pub fn twin(spec: &Spec, request: &Request<'_>) -> Option<Twin> {
    twin::of(spec, request)
}

fn timeout(spec: &Spec, request: &Request<'_>) -> Option<Timeout> {
    match &*spec.name {
        "xread" | "xreadgroup" => options::blocks(request).last().map(|index| Timeout::Millis(index + 1)),
        "blmpop" | "bzmpop" => Some(Timeout::Seconds(1)),
        "blpop" | "brpop" | "bzpopmin" | "bzpopmax" | "blmove" | "brpoplpush" => {
            Some(Timeout::Seconds(request.len() - 1))
        }
        // A learned command: the servers don't tell where its timeout stands.
        _ => None,
    }
}

/// Milliseconds of a timeout in seconds, rounded up as the servers do; `None` for what they refuse, and for
/// notations that only they read.
fn seconds(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let millis = (text.parse::<f64>().ok()? * 1000.0).ceil();
    // Not a number is in no range. Above 2^53 a double is no exact integer any more: 285,000 years.
    (0.0..9_007_199_254_740_992.0).contains(&millis).then_some(millis as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::keys::tests::with_line;

    fn patience_of(line: &str) -> Patience {
        with_line(line, |spec, request| patience(spec, &request))
    }

    #[test]
    fn timeouts_are_read_as_the_servers_read_them() {
        use Patience::{Endless, Millis, Unclear};
        for (line, expected) in [
            ("BLPOP k 1", Millis(1_000)),
            ("BLPOP k 0.0001", Millis(1)),
            ("BLPOP k 0.25", Millis(250)),
            ("BLPOP k 0", Endless),
            ("BLPOP k 1e2", Millis(100_000)),
            ("BLPOP k -1", Unclear),
            ("BLPOP k nan", Unclear),
            ("BLPOP k inf", Unclear),
            ("BLPOP k 1e300", Unclear),
            ("BLPOP k x", Unclear),
            ("BLMPOP 2 1 k LEFT", Millis(2_000)),
            ("BRPOPLPUSH a b 3", Millis(3_000)),
            ("BLMOVE a b LEFT LEFT 3", Millis(3_000)),
            ("XREAD block 20 STREAMS k $", Millis(20)),
            ("XREAD BLOCK 20 BLOCK 30 STREAMS k $", Millis(30)),
            ("XREAD BLOCK 0 STREAMS k $", Endless),
            ("XREAD BLOCK 1.5 STREAMS k $", Unclear),
            ("XREADGROUP GROUP BLOCK 5 BLOCK 7 STREAMS k >", Millis(7)),
        ] {
            assert_eq!(patience_of(line), expected, "{line}");
        }
    }

    #[test]
    fn a_request_can_be_given_what_is_left() {
        for (line, left, expected) in [
            ("BLPOP k 1", 250, "BLPOP k 0.250"),
            ("BLMPOP 2 1 k LEFT", 1_001, "BLMPOP 1.001 1 k LEFT"),
            ("XREAD BLOCK 20 STREAMS k 0", 7, "XREAD BLOCK 7 STREAMS k 0"),
            ("BLPOP k 1", 0, "BLPOP k 0.001"),
        ] {
            let frame = with_line(line, |spec, request| with_patience(spec, &request, left));
            let expected = with_line(expected, |_, request| request.frame().to_vec());
            assert_eq!(frame.escape_ascii().to_string(), expected.escape_ascii().to_string());
        }
    }
}
