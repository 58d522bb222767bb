//! The count of keys that EVAL, FCALL, ZUNION and their like carry, read as strictly as the servers read it.

use std::borrow::Cow;

use thiserror::Error;

use super::spec::{FindKeys, Keys, Spec};

/// Why a request's keys can't be told: its count of keys is impossible. The server would refuse it too, in
/// words that depend on the command: see [`KeysError::text`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum KeysError {
    /// The count is no integer.
    #[error("count of keys is not an integer")]
    NotAnInteger,
    /// The count is below zero.
    #[error("count of keys is negative")]
    Negative,
    /// There are fewer arguments than keys.
    #[error("count of keys is greater than the arguments")]
    TooMany,
}

impl KeysError {
    /// Whether requests of `spec` carry a count of keys.
    #[must_use]
    pub fn is_counted(spec: &Spec) -> bool {
        let Keys::Specs(specs) = &spec.keys else { return false };
        specs.iter().any(|spec| matches!(spec.find, FindKeys::KeyNum { .. }))
    }

    /// What a server says to a request of `spec` with such a count, without the leading `-`. Compared with
    /// real servers by a test.
    #[must_use]
    pub fn text(self, spec: &Spec) -> Cow<'static, str> {
        let name = &*spec.name;
        match (CountedBy::of(name), self) {
            (CountedBy::Function, Self::NotAnInteger) => "ERR Bad number of keys provided".into(),
            (CountedBy::Pop | CountedBy::Cardinality, Self::NotAnInteger | Self::Negative) => {
                "ERR numkeys should be greater than 0".into()
            }
            (CountedBy::Msetex, Self::NotAnInteger | Self::Negative) => {
                "ERR invalid numkeys value or out of range".into()
            }
            (CountedBy::Script | CountedBy::SortedSets, Self::NotAnInteger) => {
                "ERR value is not an integer or out of range".into()
            }
            (CountedBy::Script | CountedBy::Function, Self::Negative) => {
                "ERR Number of keys can't be negative".into()
            }
            (CountedBy::SortedSets, Self::Negative) => {
                format!("ERR at least 1 input key is needed for '{name}' command").into()
            }
            (CountedBy::Script | CountedBy::Function | CountedBy::Cardinality, Self::TooMany) => {
                "ERR Number of keys can't be greater than number of args".into()
            }
            (CountedBy::Pop | CountedBy::SortedSets | CountedBy::Msetex, Self::TooMany) => {
                "ERR syntax error".into()
            }
        }
    }
}

/// Commands that a server answers in the same words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CountedBy {
    Script,
    Function,
    Pop,
    Cardinality,
    Msetex,
    SortedSets,
}

impl CountedBy {
    fn of(name: &str) -> Self {
        match name {
            "eval" | "eval_ro" | "evalsha" | "evalsha_ro" => Self::Script,
            "fcall" | "fcall_ro" => Self::Function,
            "lmpop" | "zmpop" | "blmpop" | "bzmpop" => Self::Pop,
            "sintercard" => Self::Cardinality,
            "msetex" => Self::Msetex,
            _ => Self::SortedSets,
        }
    }
}

/// A count as the servers read it: digits only, no `+`, no leading zero, within an i64.
pub(super) fn parse_count(text: &[u8]) -> Result<usize, KeysError> {
    let (negative, digits) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let canonical = matches!(digits, [b'0'] | [b'1'..=b'9', ..]) && !(negative && digits == b"0");
    // With its sign: the smallest integer has no positive.
    let number = str::from_utf8(text).ok().filter(|_| canonical).and_then(|text| text.parse::<i64>().ok());
    match number {
        Some(number) if number < 0 => Err(KeysError::Negative),
        Some(number) => usize::try_from(number).map_err(|_| KeysError::TooMany),
        None => Err(KeysError::NotAnInteger),
    }
}
