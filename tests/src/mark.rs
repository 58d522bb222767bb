//! When two replies count as equal: what of them may differ where both servers are right.

use crate::value::Value;

/// What of two replies has to be equal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mark {
    /// Every byte.
    Exact,
    /// The elements, in any order; those of nested aggregates too.
    Unordered,
    /// As [`Self::Unordered`], but names and values by turns stay together.
    Pairs,
    /// The types only.
    Shape,
    /// Of an error its code, of all else everything.
    ErrorCode,
    /// All but integers that a clock decides: those may be [`NEAR`] apart.
    Near,
    /// All but how long a pending entry has been idle.
    Idle,
    /// Of EXEC's array, or another, each element by its own mark.
    Each(Vec<Self>),
}

/// How far integers may lie apart that a clock decides: ten seconds in milliseconds, since a busy machine may let
/// that pass between the two servers.
pub const NEAR: u64 = 10_000;

impl Mark {
    /// The mark that is written `[word]`.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Some(match word {
            "unordered" => Self::Unordered,
            "pairs" => Self::Pairs,
            "shape" => Self::Shape,
            "error" => Self::ErrorCode,
            "near" => Self::Near,
            "idle" => Self::Idle,
            _ => return None,
        })
    }

    /// Whether two reply frames are equal in what this mark asks for.
    #[must_use]
    pub fn agree(&self, expected: &[u8], got: &[u8]) -> bool {
        expected == got || *self != Self::Exact && self.agree_on(Value::decode(expected), Value::decode(got))
    }

    fn agree_on(&self, expected: Value, got: Value) -> bool {
        match (self, expected, got) {
            (Self::Each(marks), Value::Array(expected), Value::Array(got)) => {
                let pairs = expected.into_iter().zip(got.iter().cloned());
                marks.len() == got.len()
                    && pairs.len() == got.len()
                    && marks.iter().zip(pairs).all(|(mark, (expected, got))| mark.agree_on(expected, got))
            }
            (Self::Near, expected, got) => is_near(&expected, &got),
            (_, expected, got) => self.normal(expected) == self.normal(got),
        }
    }

    /// What of `value` has to be equal.
    fn normal(&self, value: Value) -> Value {
        match self {
            Self::Exact | Self::Near | Self::Each(_) => value,
            Self::Unordered => unordered(value),
            Self::Pairs => pairs(value),
            Self::Shape => shape(value),
            Self::ErrorCode => error_code(value),
            Self::Idle => idle(value),
        }
    }
}

fn unordered(value: Value) -> Value {
    map_items(value, |items| {
        let mut items: Vec<Value> = items.into_iter().map(unordered).collect();
        items.sort();
        items
    })
}

fn pairs(value: Value) -> Value {
    map_items(value, |mut items| {
        // RESP3 has an array for each pair.
        if items.iter().all(|item| matches!(item, Value::Array(pair) if pair.len() == 2)) {
            items.sort();
            return items;
        }
        let items: Vec<Value> = items.into_iter().map(pairs).collect();
        let mut pairs: Vec<Vec<Value>> = items.chunks(2).map(<[Value]>::to_vec).collect();
        pairs.sort();
        pairs.concat()
    })
}

fn shape(value: Value) -> Value {
    match value {
        Value::Simple(_) => Value::Simple(Vec::new()),
        Value::Error(_) => Value::Error(Vec::new()),
        Value::Bulk(_) => Value::Bulk(Vec::new()),
        Value::Int(_) => Value::Int(0),
        Value::Number(_) => Value::Number(Vec::new()),
        Value::Set(items) if items.is_empty() => Value::Array(items),
        other => map_items(other, |items| items.into_iter().map(shape).collect()),
    }
}

fn error_code(value: Value) -> Value {
    let code = |text: Vec<u8>| text.split(|&byte| byte == b' ').next().unwrap_or_default().to_vec();
    match value {
        Value::Error(text) => Value::Error(code(text)),
        other => other,
    }
}

/// XPENDING's entries are `[id, consumer, idle, deliveries]`.
fn idle(value: Value) -> Value {
    map_items(value, |mut items| {
        if let [Value::Bulk(_), Value::Bulk(_), time @ Value::Int(_), Value::Int(_)] = items.as_mut_slice() {
            *time = Value::Int(0);
        }
        items.into_iter().map(idle).collect()
    })
}

fn is_near(expected: &Value, got: &Value) -> bool {
    match (expected, got) {
        (Value::Int(a), Value::Int(b)) => a == b || (*a >= 0 && *b >= 0 && a.abs_diff(*b) <= NEAR),
        (Value::Array(a), Value::Array(b)) | (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_near(a, b))
        }
        (a, b) => a == b,
    }
}

fn map_items(value: Value, change: impl FnOnce(Vec<Value>) -> Vec<Value>) -> Value {
    match value {
        Value::Array(items) => Value::Array(change(items)),
        Value::Set(items) => Value::Set(change(items)),
        Value::Map(items) => Value::Map(change(items)),
        Value::Push(items) => Value::Push(change(items)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_element_of_an_exec_is_compared_by_its_own_mark() {
        let each = Mark::Each(vec![Mark::Unordered, Mark::Exact]);
        let (ab, ba) = (b"*2\r\n*2\r\n:1\r\n:2\r\n:7\r\n", b"*2\r\n*2\r\n:2\r\n:1\r\n:7\r\n");
        assert!(each.agree(ab, ba));
        assert!(!each.agree(ab, b"*2\r\n*2\r\n:2\r\n:1\r\n:8\r\n"));
        assert!(!each.agree(ab, b"*-1\r\n"));
        assert!(!Mark::Exact.agree(ab, ba));
    }

    #[test]
    fn clocks_may_differ_a_little_and_nothing_else_may() {
        assert!(Mark::Near.agree(b":100000\r\n", b":99999\r\n"));
        assert!(!Mark::Near.agree(b":-1\r\n", b":0\r\n"));
        let entry = |idle: u8, count: u8| format!("*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:{idle}\r\n:{count}\r\n");
        assert!(Mark::Idle.agree(entry(1, 2).as_bytes(), entry(9, 2).as_bytes()));
        assert!(!Mark::Idle.agree(entry(1, 2).as_bytes(), entry(1, 3).as_bytes()));
    }
}
