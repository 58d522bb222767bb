//! Requests that run a script or a function of the server's, as far as the proxy has to understand them.

use std::num::NonZeroU32;

use super::digest::Digest;
use super::groups::with_request;
use crate::resp::request::Request;

/// What a request runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scripted<'a> {
    /// EVAL, EVAL_RO: this body.
    Body(&'a [u8]),
    /// EVALSHA, EVALSHA_RO: the script of this name.
    Named(Digest),
    /// FCALL, FCALL_RO: the function of this name.
    Function(&'a [u8]),
}

impl<'a> Scripted<'a> {
    /// What `request` runs; `None` for all other commands, and for a name that is none.
    #[must_use]
    pub fn of(request: &Request<'a>) -> Option<Self> {
        let name = request.name();
        let is = |word: &[u8]| {
            let (start, rest) = name.split_at_checked(word.len()).unwrap_or((name, b""));
            start.eq_ignore_ascii_case(word) && (rest.is_empty() || rest.eq_ignore_ascii_case(b"_ro"))
        };
        let what = request.arg(1)?;
        match name.first()? {
            b'E' | b'e' if is(b"eval") => Some(Self::Body(what)),
            b'E' | b'e' if is(b"evalsha") => Digest::parse(what).map(Self::Named),
            b'F' | b'f' if is(b"fcall") => Some(Self::Function(what)),
            _ => None,
        }
    }

    /// A number that requests which run the same share: by it those are told apart that may stand behind
    /// each other while they wait.
    #[must_use]
    pub fn tag(&self) -> NonZeroU32 {
        let number = match self {
            Self::Named(Digest([a, b, c, d, ..])) => u32::from_be_bytes([*a, *b, *c, *d]),
            // FNV-1a. Whoever makes two names collide has his own requests change places.
            Self::Function(name) | Self::Body(name) => name
                .iter()
                .fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)),
        };
        NonZeroU32::MIN | number
    }
}

/// The body that a frame of SCRIPT LOAD, EVAL or EVAL_RO carries.
#[must_use]
pub fn body_of(frame: &[u8]) -> Option<Vec<u8>> {
    with_request(frame, |request| match Scripted::of(request) {
        Some(Scripted::Body(body)) => Some(body.to_vec()),
        None if request.name().eq_ignore_ascii_case(b"script") => request.arg(2).map(<[u8]>::to_vec),
        _ => None,
    })
}

/// SCRIPT LOAD of `body`.
#[must_use]
pub fn load(body: &[u8]) -> Vec<u8> {
    let mut frame = format!("*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n${}\r\n", body.len()).into_bytes();
    frame.extend_from_slice(body);
    frame.extend_from_slice(b"\r\n");
    frame
}

/// The EVAL or EVAL_RO that runs `body` with the keys and arguments of this EVALSHA or EVALSHA_RO.
#[must_use]
pub fn with_body(request: &Request<'_>, body: &[u8]) -> Vec<u8> {
    let reads = request.name().len() > b"EVALSHA".len();
    let name = if reads { "$7\r\nEVAL_RO" } else { "$4\r\nEVAL" };
    let mut frame = Vec::with_capacity(request.frame().len() + body.len());
    frame.extend_from_slice(format!("*{}\r\n{name}\r\n${}\r\n", request.len(), body.len()).as_bytes());
    frame.extend_from_slice(body);
    frame.extend_from_slice(b"\r\n");
    (2..request.len()).for_each(|index| frame.extend_from_slice(request.raw_arg(index)));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";

    fn with_line(line: &str, check: impl FnOnce(&Request<'_>)) {
        let words: Vec<_> = line.split(' ').map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        let frame = format!("*{}\r\n{}", words.len(), words.concat());
        let checked = with_request(frame.as_bytes(), |request| {
            check(request);
            Some(())
        });
        checked.unwrap();
    }

    #[test]
    fn scripts_and_functions_are_told_from_other_commands() {
        let is = |line: &str, expected: Option<Scripted<'_>>| {
            with_line(line, |request| assert_eq!(Scripted::of(request), expected, "{line}"));
        };
        is("EVAL body 0", Some(Scripted::Body(b"body")));
        is("eval_ro body 0", Some(Scripted::Body(b"body")));
        is(&format!("EvalSha {NAME} 0"), Some(Scripted::Named(Digest::of(b"return 1"))));
        is(&format!("EVALSHA_RO {NAME} 0"), Some(Scripted::Named(Digest::of(b"return 1"))));
        is("EVALSHA nothing 0", None);
        is("FCALL f 0", Some(Scripted::Function(b"f")));
        is("fcall_ro f 0", Some(Scripted::Function(b"f")));
        for line in ["EVALX a", "EVAL_R a", "FCALLS a", "GET eval", "EVAL", "FLUSHALL", "ECHO x"] {
            is(line, None);
        }
    }

    #[test]
    fn a_request_by_name_becomes_one_with_the_body() {
        let whole = |line: &str| {
            let mut text = String::new();
            with_line(line, |request| {
                text = String::from_utf8(with_body(request, b"return 1")).unwrap();
            });
            text
        };
        let expected = "*5\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n1\r\n$1\r\nk\r\n$3\r\nval\r\n";
        assert_eq!(whole(&format!("evalsha {NAME} 1 k val")), expected);
        let expected = "*3\r\n$7\r\nEVAL_RO\r\n$8\r\nreturn 1\r\n$1\r\n0\r\n";
        assert_eq!(whole(&format!("evalsha_ro {NAME} 0")), expected);
    }

    #[test]
    fn the_body_is_found_where_it_was_put() {
        assert_eq!(body_of(&load(b"return 1")).as_deref(), Some(&b"return 1"[..]));
        assert_eq!(body_of(b"*1\r\n$4\r\nPING\r\n"), None);
        assert_eq!(body_of(b"*3\r\n$4\r\nEVAL\r\n$1\r\nb\r\n$1\r\n0\r\n").as_deref(), Some(&b"b"[..]));
    }

    #[test]
    fn those_that_run_the_same_share_a_number() {
        let tag = |line: &str| {
            let mut tag = None;
            with_line(line, |request| tag = Some(Scripted::of(request).unwrap().tag()));
            tag
        };
        assert_eq!(tag(&format!("EVALSHA {NAME} 1 a")), tag(&format!("evalsha_ro {NAME} 1 b")));
        assert_eq!(tag("FCALL f 1 a"), tag("FCALL f 1 b"));
        assert_ne!(tag("FCALL f 1 a"), tag("FCALL g 1 a"));
        assert_ne!(tag(&format!("EVALSHA {NAME} 0")), tag("FCALL f 0"));
    }
}
