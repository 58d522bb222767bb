//! A blocking request over several slots, cut into requests of one slot each, in the caller's order.

use super::blocking;
use super::keys;
use super::options;
use super::spec::{Keys, Spec};
use super::twin::Twin;
use crate::cluster::slot::Slot;
use crate::resp::request::Request;
use crate::resp::scan::{RequestLimits, RequestScanner, Scan};

/// Keys that stand together and are in one slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Where they are.
    pub slot: Slot,
    /// The keys, each as it stands in a frame.
    pub keys: Vec<Box<[u8]>>,
    /// What is asked of them.
    pub twin: Twin,
    /// Whether what is taken goes to a key in another slot: the twin is then no request for one server.
    pub moves: bool,
}

/// The groups of a request that blocks; `together` tells whether a server takes two slots in one request. Of BLMOVE
/// and BRPOPLPUSH, which wait for their first key only, that one. `None` for what is too long to be tried.
#[must_use]
pub fn of(spec: &Spec, request: &Request<'_>, together: impl Fn(Slot, Slot) -> bool) -> Option<Vec<Group>> {
    if matches!(&*spec.name, "blmove" | "brpoplpush") {
        let (slot, keys) = (Slot::of(request.arg(1)?), vec![Box::from(request.raw_arg(1))]);
        return Some(vec![Group { slot, keys, twin: blocking::twin(spec, request)?, moves: true }]);
    }
    let last = keys::positions(spec, request).ok()?.last()?;
    let group = |(slot, run): (Slot, Vec<usize>)| {
        let frame = of_keys(spec, request, &run, last)?;
        let twin = with_request(&frame, |request| blocking::twin(spec, request))?;
        let keys = run.iter().map(|index| request.raw_arg(*index).into()).collect();
        Some(Group { slot, keys, twin, moves: false })
    };
    runs_of(spec, request, together)?.into_iter().map(group).collect()
}

/// A request over several slots, cut where the slot changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// Where its keys are.
    pub slot: Slot,
    /// Their arguments' numbers.
    pub keys: Vec<usize>,
    /// The request for these keys only.
    pub frame: Vec<u8>,
    /// Whether a server takes their ids for ids; always, where they have none.
    pub ids_are_whole: bool,
}

/// A request that changes slots more often is not carried out: no more parts of one can be told apart.
const MOST_RUNS: usize = 16_384;

/// The runs of a request that does not block, in the caller's order; slots of one `place` stay together. `None` for
/// commands that can't be cut so.
#[must_use]
pub fn runs(spec: &Spec, request: &Request<'_>, place: impl Fn(Slot) -> u16) -> Option<Vec<Run>> {
    let is_id = |index: usize| request.arg(index).is_some_and(is_id);
    let apart = options::streams_begin(request).map_or(0, |streams| (request.len() - streams) / 2);
    let last = keys::positions(spec, request).ok()?.last()?;
    let run = |(slot, keys): (Slot, Vec<usize>)| {
        let frame = of_keys(spec, request, &keys, last)?;
        let ids_are_whole = &*spec.name != "xreadgroup" || keys.iter().all(|key| is_id(key + apart));
        Some(Run { slot, keys, frame, ids_are_whole })
    };
    let cut = runs_of(spec, request, |a, b| place(a) == place(b))?;
    if cut.len() > MOST_RUNS {
        return None;
    }
    cut.into_iter().map(run).collect()
}

/// The argument of XREADGROUP that is the group.
#[must_use]
pub fn group_name(request: &Request<'_>) -> Option<usize> {
    options::group(request)
}

/// `ms`, `ms-seq`, or what stands for the entries that nobody got.
fn is_id(id: &[u8]) -> bool {
    let is_number = |part: &[u8]| !part.is_empty() && part.len() <= 20 && part.iter().all(u8::is_ascii_digit);
    id == b">" || id.splitn(2, |byte| *byte == b'-').all(is_number)
}

/// Keys that stand together in one slot.
fn runs_of(
    spec: &Spec,
    request: &Request<'_>,
    together: impl Fn(Slot, Slot) -> bool,
) -> Option<Vec<(Slot, Vec<usize>)>> {
    let mut runs: Vec<(Slot, Vec<usize>)> = Vec::new();
    for index in keys::positions(spec, request).ok()? {
        let slot = Slot::of(request.arg(index)?);
        match runs.last_mut() {
            Some((own, run)) if together(*own, slot) => run.push(index),
            _ => runs.push((slot, vec![index])),
        }
    }
    Some(runs)
}

/// The arguments of XREAD that are `$`: the last id at the moment the command is read.
#[must_use]
pub fn last_ids(spec: &Spec, request: &Request<'_>) -> Vec<usize> {
    match options::streams_begin(request) {
        Some(streams) if spec.keys == Keys::Streams => {
            let ids = streams + (request.len() - streams) / 2;
            (ids..request.len()).filter(|index| request.arg(*index) == Some(b"$")).collect()
        }
        _ => Vec::new(),
    }
}

/// The stream that the id in argument `index` belongs to.
#[must_use]
pub fn stream_of_id(request: &Request<'_>, index: usize) -> Option<usize> {
    let streams = options::streams_begin(request)?;
    index.checked_sub((request.len() - streams) / 2)
}

/// The request with another text in the place of argument `index`.
#[must_use]
pub fn with_arg(request: &Request<'_>, index: usize, text: &str) -> Vec<u8> {
    let arg = format!("${}\r\n{text}\r\n", text.len());
    let raw = |place: usize| if place == index { arg.as_bytes() } else { request.raw_arg(place) };
    let mut frame = format!("*{}\r\n", request.len()).into_bytes();
    (0..request.len()).for_each(|place| frame.extend_from_slice(raw(place)));
    frame
}

/// The same command for these of its keys only; `all` is the last one of all.
fn of_keys(spec: &Spec, request: &Request<'_>, run: &[usize], all: usize) -> Option<Vec<u8>> {
    let raw = |range: std::ops::Range<usize>| range.map(|index| request.raw_arg(index).to_vec());
    let keys = run.iter().map(|index| request.raw_arg(*index).to_vec());
    let count = format!("${}\r\n{}\r\n", run.len().to_string().len(), run.len()).into_bytes();
    let (first, last) = (*run.first()?, request.len() - 1);
    let args: Vec<Vec<u8>> = match &*spec.name {
        "blpop" | "brpop" | "bzpopmin" | "bzpopmax" => {
            raw(0..1).chain(keys).chain(raw(last..last + 1)).collect()
        }
        "blmpop" | "bzmpop" => {
            raw(0..2).chain([count]).chain(keys).chain(raw(all + 1..request.len())).collect()
        }
        "lmpop" | "zmpop" => {
            raw(0..1).chain([count]).chain(keys).chain(raw(all + 1..request.len())).collect()
        }
        "xread" | "xreadgroup" => {
            let streams = options::streams_begin(request)?;
            let apart = (request.len() - streams) / 2;
            raw(0..streams).chain(keys).chain(raw(first + apart..first + apart + run.len())).collect()
        }
        _ => return None,
    };
    Some([format!("*{}\r\n", args.len()).into_bytes(), args.concat()].concat())
}

/// Reads a request that was kept.
pub fn with_request<T>(frame: &[u8], with: impl FnOnce(&Request<'_>) -> Option<T>) -> Option<T> {
    let limits = RequestLimits { args: usize::MAX, bulk: frame.len(), frame: frame.len(), value: usize::MAX };
    let mut scanner = RequestScanner::default();
    match scanner.scan(frame, &limits) {
        Ok(Scan::Request(_)) => with(&scanner.request(frame)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::keys::tests::with_line;

    fn words(frame: &[u8]) -> String {
        with_request(frame, |request| {
            let words = request.args_from(0).map(|arg| String::from_utf8_lossy(arg).into_owned());
            Some(words.collect::<Vec<_>>().join(" "))
        })
        .unwrap()
    }

    fn groups(line: &str) -> Option<Vec<String>> {
        with_line(line, |spec, request| {
            let groups = of(spec, &request, |a, b| a == b)?;
            Some(groups.iter().map(|group| words(&group.twin.frame)).collect())
        })
    }

    #[test]
    fn keys_are_asked_in_the_callers_order() {
        for (line, expected) in [
            ("BLPOP {a}1 {a}2 {b}1 {a}3 0", &["LMPOP 2 {a}1 {a}2 LEFT", "LPOP {b}1", "LPOP {a}3"][..]),
            ("BZPOPMAX a b 0", &["ZPOPMAX a", "ZPOPMAX b"]),
            ("BLMPOP 0 2 a b RIGHT COUNT 5", &["LMPOP 1 a RIGHT COUNT 5", "LMPOP 1 b RIGHT COUNT 5"]),
            (
                "XREADGROUP GROUP g c BLOCK 0 STREAMS {a}1 {a}2 b > 1 2",
                &["XREADGROUP GROUP g c STREAMS {a}1 {a}2 > 1", "XREADGROUP GROUP g c STREAMS b 2"],
            ),
        ] {
            assert_eq!(
                groups(line).as_deref(),
                Some(expected.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()).as_deref()
            );
        }
        assert_eq!(groups("BLMOVE a b LEFT RIGHT 0").unwrap(), ["LMOVE a b LEFT RIGHT"]);
    }

    #[test]
    fn the_last_ids_are_found_and_replaced() {
        with_line("XREAD BLOCK 0 STREAMS a $ b $ 5 $", |spec, request| {
            assert_eq!(last_ids(spec, &request), [7, 9]);
            assert_eq!(stream_of_id(&request, 9), Some(6));
            assert_eq!(words(&with_arg(&request, 9, "7-1")), "XREAD BLOCK 0 STREAMS a $ b $ 5 7-1");
        });
        with_line("BLPOP $ 0", |spec, request| assert!(last_ids(spec, &request).is_empty()));
    }
}
