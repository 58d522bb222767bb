//! Scripts of namespaced tenants: what is put in front of them, so that they see the names that their author wrote,
//! and by which name the servers know them then.

use std::collections::{HashMap, VecDeque};
use std::sync::{LazyLock, PoisonError, RwLock};

use crate::command::digest::Digest;
use crate::config::tenants::NamespaceId;

/// Lua, see there.
const PROLOGUE: &str = include_str!("prologue.lua");

/// The same on one line, so that the lines of an error are those of the script.
static ONE_LINE: LazyLock<String> = LazyLock::new(|| {
    let lines = PROLOGUE.lines().filter(|line| !line.starts_with("--"));
    lines.flat_map(|line| [line, " "]).collect()
});

/// Most scripts whose names are kept: some 6 MiB. A client that calls one beyond them is told NOSCRIPT, as by a server
/// that restarted, and says the script again.
const MOST: usize = 65_536;

/// The script as it goes to the servers. A first line that names an engine or flags (`#!lua ...`) stays the first.
#[must_use]
pub fn wrap(script: &[u8]) -> Vec<u8> {
    let head = match script.starts_with(b"#!") {
        true => script.iter().position(|byte| *byte == b'\n').map_or(script.len(), |end| end + 1),
        false => 0,
    };
    let (head, body) = script.split_at(head);
    [head, ONE_LINE.as_bytes(), body].concat()
}

/// Of a script as it went to the servers, or of as much of it as they keep: what stands before that which [`wrap`] put
/// in front, and how long that is. `None` where none of it is there.
#[must_use]
pub fn before_prologue(wrapped: &[u8]) -> Option<(&[u8], usize)> {
    // Long enough that nobody's own script has it by accident.
    let beginning = &ONE_LINE.as_bytes()[..24];
    let found = memchr::memmem::find(wrapped, beginning)?;
    Some((&wrapped[..found], ONE_LINE.len()))
}

/// The scripts that tenants said to this process: by the name that the tenant calls each, the name of what goes to the
/// servers. A tenant can call its own only, whatever the servers keep.
#[derive(Debug)]
pub struct Names {
    /// How many may be kept.
    most: usize,
    known: RwLock<Known>,
}

impl Default for Names {
    fn default() -> Self {
        Self { most: MOST, known: RwLock::default() }
    }
}

#[derive(Default, Debug)]
struct Known {
    wrapped: HashMap<(NamespaceId, Digest), Digest>,
    /// Oldest first; may name what is gone.
    order: VecDeque<(NamespaceId, Digest)>,
}

impl Names {
    /// A tenant says a script; what goes to the servers in its place.
    pub fn note(&self, tenant: NamespaceId, script: &[u8]) -> Vec<u8> {
        let wrapped = wrap(script);
        let key = (tenant, Digest::of(script));
        if self.of(tenant, key.1).is_none() {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            if known.wrapped.insert(key, Digest::of(&wrapped)).is_none() {
                known.order.push_back(key);
            }
            while known.order.len() > self.most {
                let oldest = known.order.pop_front();
                oldest.and_then(|oldest| known.wrapped.remove(&oldest));
            }
        }
        wrapped
    }

    /// What the servers call the script that the tenant calls this; `None` where it did not say it.
    #[must_use]
    pub fn of(&self, tenant: NamespaceId, name: Digest) -> Option<Digest> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.wrapped.get(&(tenant, name)).copied()
    }

    /// All that the tenant said: by what the servers call each, what the tenant does.
    #[must_use]
    pub fn all_of(&self, tenant: NamespaceId) -> HashMap<Digest, Digest> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let own = known.wrapped.iter().filter(|((whose, _), _)| *whose == tenant);
        own.map(|((_, name), wrapped)| (*wrapped, *name)).collect()
    }

    /// SCRIPT FLUSH: the tenant's scripts are forgotten, nobody else's.
    pub fn forget(&self, tenant: NamespaceId) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.wrapped.retain(|(whose, _), _| *whose != tenant);
        known.order.retain(|(whose, _)| *whose != tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_front_adds_no_line_and_leaves_a_shebang_first() {
        assert!(!ONE_LINE.contains('\n') && !ONE_LINE.contains("--"));
        let wrapped = wrap(b"#!lua flags=no-writes\nreturn 1");
        assert!(wrapped.starts_with(b"#!lua flags=no-writes\nlocal KEYS, redis = "));
        assert!(wrapped.ends_with(b" return 1"));
        assert_eq!(wrap(b"return 1").iter().filter(|byte| **byte == b'\n').count(), 0);
        assert!(wrap(b"#!lua").starts_with(b"#!lua"), "a script without a body is the servers' to refuse");
    }

    #[test]
    fn a_tenant_calls_its_own_scripts_only() {
        let (a, b) = (NamespaceId(*b"aaaaaaaa"), NamespaceId(*b"bbbbbbbb"));
        let names = Names::default();
        let (script, name) = (b"return 1", Digest::of(b"return 1"));
        assert_eq!(names.of(a, name), None);
        let wrapped = names.note(a, script);
        assert_eq!(names.of(a, name), Some(Digest::of(&wrapped)));
        assert_eq!(names.of(b, name), None);
        names.note(b, script);
        names.forget(a);
        assert_eq!((names.of(a, name), names.of(b, name).is_some()), (None, true));
    }

    #[test]
    fn the_number_of_names_is_bounded() {
        let tenant = NamespaceId(*b"aaaaaaaa");
        let names = Names { most: 10, ..Names::default() };
        let script = |number: usize| format!("return {number}").into_bytes();
        (0..=10).for_each(|number| drop(names.note(tenant, &script(number))));
        assert_eq!(names.of(tenant, Digest::of(&script(0))), None);
        assert!(names.of(tenant, Digest::of(&script(10))).is_some());
        assert_eq!(names.known.read().expect("a lock").wrapped.len(), 10);
    }
}
