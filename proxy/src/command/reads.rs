//! Which commands a replica may answer in the place of its primary.

use super::spec::Flags;

/// Whether requests of the command `name` may go to a replica: it only reads, and no row below says otherwise.
pub(super) fn may_leave_primary(name: &str, flags: Flags) -> bool {
    let only_reads = flags.contains(Flags::READONLY) && !flags.contains(Flags::WRITE);
    only_reads && !STAY.iter().any(|names| names.contains(&name))
}

/// Commands that only read and are the primary's all the same. The comments say why.
const STAY: &[&[&str]] = &[
    // A script is known where it was loaded, and SCRIPT LOAD reaches primaries only: EVALSHA_RO would say NOSCRIPT.
    // What a script returns may look like a redirect, by which a read is sent again. FCALL_RO for one rule.
    &["eval_ro", "evalsha_ro", "fcall_ro"],
    // A cursor means something to the node alone that gave it: each hashes with a seed of its own. Elsewhere a scan
    // would miss elements without a word.
    &["hscan", "sscan", "zscan"],
    // They touch, or tell, when a key was last used: what counts for eviction is what the primary saw.
    &["touch", "object|idletime", "object|freq"],
];

#[cfg(test)]
mod tests {
    use super::super::spec::{Keys, Treatment};
    use super::super::table::Table;
    use super::*;

    #[test]
    fn what_writes_runs_a_script_or_has_a_cursor_stays_with_the_primary() {
        let table = Table::builtin();
        for name in [
            "set",
            "getset",
            "getex",
            "getdel",
            "incr",
            "lpop",
            "xreadgroup",
            "sort",
            "georadius",
            "eval",
            "evalsha",
            "fcall",
            "eval_ro",
            "evalsha_ro",
            "fcall_ro",
            "hscan",
            "sscan",
            "zscan",
            "touch",
            "del",
            "bitfield",
        ] {
            let spec = table.by_full_name(name.as_bytes()).unwrap();
            assert!(!spec.reads, "{name}");
        }
        for name in
            ["get", "mget", "exists", "hgetall", "zrange", "xread", "xrange", "sort_ro", "strlen", "type"]
        {
            assert!(table.by_full_name(name.as_bytes()).unwrap().reads, "{name}");
        }
    }

    #[test]
    fn every_exception_is_a_command_that_would_go_to_replicas_otherwise() {
        let table = Table::builtin();
        for name in STAY.iter().copied().flatten() {
            let spec = table.by_full_name(name.as_bytes()).unwrap();
            assert!(spec.flags.contains(Flags::READONLY) && spec.keys != Keys::None, "{name}");
            let is_routed =
                matches!(spec.treatment, Treatment::Keyed | Treatment::Scripted | Treatment::Split(_));
            assert!(is_routed, "{name}");
        }
    }
}
