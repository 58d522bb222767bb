//! Commands of modules that were looked at one by one, since what servers say of them is too little to route by: where
//! their keys stand, and what is done with them. Every other learned command follows the server's facts.

use super::facts::{FlaggedKeySpec, parse_key_specs};
use super::search;
use super::spec::Cross as C;
use super::spec::Merge as M;
use super::spec::Refused as R;
use super::spec::Split as S;
use super::spec::Target;
use super::spec::Treatment::{self, Cross, EveryShard, Refused, Scan, Series, Split as SplitBy};

/// Where keys stand, as a column of `facts.txt`, for commands whose servers tell the first key only.
const KEYS: &[(&str, &[&str])] = &[
    // The last argument is a path.
    ("RO,access@index:1/range:-2:1:0", &["json.mget"]),
    // A source and a destination; the module wants both on its node.
    ("RW,access,update@index:1/range:1:1:0", &["ts.createrule", "ts.deleterule"]),
    // A destination, a count, that many sources.
    ("RW,access,update@index:1/range:0:1:0;RO,access@index:2/keynum:0:1:1", &["cms.merge", "tdigest.merge"]),
];

/// What is done with commands that their facts mislead about. The comments say why.
pub(super) const REVIEWED: &[(Treatment, &[&str])] = &[
    // As MGET and MSET, a path or a timestamp with each key. Not atomic over several slots.
    (SplitBy(S::GatherPath), &["json.mget"]),
    (SplitBy(S::Triples), &["json.mset"]),
    (SplitBy(S::GatherTriples), &["ts.madd"]),
    // As PFMERGE: sketches of other slots are copied to where they are merged.
    (Cross(C::Gather(Target::First)), &["cms.merge", "tdigest.merge"]),
    // No keys, but every shard has series that match: each answers for its own, and the answers stand behind each
    // other, as the server has them in no order either. GROUPBY reduces over series of all shards: refused.
    (Series, &["ts.mget", "ts.mrange", "ts.mrevrange"]),
    (EveryShard(M::Concat), &["ts.queryindex"]),
    // How the time series' shards speak to each other.
    (
        Refused(R::NodeAdmin),
        &[
            "timeseries.clusterset",
            "timeseries.clustersetfromshard",
            "timeseries.forceshardsconnection",
            "timeseries.hello",
            "timeseries.infocluster",
            "timeseries.innercommunication",
            "timeseries.networktest",
            "timeseries.refreshcluster",
        ],
    ),
    // Names of vector indices, walked through as SCAN walks through keys.
    (Scan, &["tvs.scanindex"]),
];

/// Families of which every shard has a part: what is not reviewed is refused rather than answered by one shard.
const OF_EVERY_SHARD: &[&str] = &["ft.", "_ft.", "search."];

/// The key specs of the command `name`, where its server's are not enough.
pub(super) fn key_specs(name: &str) -> Option<Vec<FlaggedKeySpec>> {
    let (column, _) = KEYS.iter().find(|(_, names)| names.contains(&name))?;
    parse_key_specs(column).ok()
}

/// What is done with the command `name`, where its facts are not enough.
pub(super) fn treatment(name: &str) -> Option<Treatment> {
    let mut rows = REVIEWED.iter().chain(search::REVIEWED);
    let reviewed = rows.find(|(_, names)| names.contains(&name)).map(|(treatment, _)| *treatment);
    let family = OF_EVERY_SHARD.iter().any(|prefix| name.starts_with(prefix));
    reviewed.or_else(|| family.then_some(Refused(R::EveryShard)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_of_keys_parses() {
        for (column, names) in KEYS {
            assert!(parse_key_specs(column).is_ok_and(|specs| !specs.is_empty()), "{column} of {names:?}");
        }
    }

    #[test]
    fn no_command_stands_twice() {
        for names in [
            KEYS.iter().flat_map(|(_, names)| names.iter()).collect::<Vec<_>>(),
            REVIEWED.iter().chain(search::REVIEWED).flat_map(|(_, names)| names.iter()).collect(),
        ] {
            let mut sorted = names.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), names.len());
        }
    }

    #[test]
    fn what_nobody_reviewed_of_search_is_refused() {
        assert_eq!(treatment("ft.hybrid"), Some(Refused(R::EveryShard)));
        assert_eq!(treatment("ft.sugadd"), Some(Treatment::Keyed));
        assert_eq!(treatment("json.set"), None);
    }
}
