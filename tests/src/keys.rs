//! Many keys: written at once, and found again.

use std::collections::BTreeSet;

use crate::raw::Raw;
use crate::value::Value;

/// How many are written before their replies are read.
const AT_A_TIME: usize = 1_000;

/// Writes a string at each of `keys`.
///
/// # Panics
/// Where one is not answered by OK.
#[track_caller]
pub fn write_all<'a>(client: &mut Raw, keys: impl IntoIterator<Item = &'a String>) {
    let keys: Vec<_> = keys.into_iter().collect();
    for keys in keys.chunks(AT_A_TIME) {
        keys.iter().for_each(|key| client.send(&["SET", key.as_str(), "x"]));
        assert!(client.read_many(keys.len()).iter().all(|reply| reply.text() == "OK"));
    }
}

/// All keys that a whole SCAN with `options` gives; `between` runs between two steps.
///
/// # Panics
/// Where it does not end.
#[track_caller]
pub fn scan(client: &mut Raw, options: &str, mut between: impl FnMut(&mut Raw)) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut cursor = "0".to_owned();
    for _step in 0..10_000 {
        let reply = client.cmd(&format!("SCAN {cursor} {options}"));
        let [next, keys] = reply.items() else { panic!("not a SCAN reply: {reply:?}") };
        found.extend(keys.items().iter().map(Value::text));
        cursor = next.text();
        if cursor == "0" {
            return found;
        }
        between(client);
    }
    panic!("the scan does not end");
}
