//! What is done with FT.*, the commands of RediSearch: each shard's server has the index of its own keys. COMMAND calls an
//! index's name a key, which it is not: whole families of keys hang on it, on all shards.

use super::spec::Change::{Adds, Sets, Takes};
use super::spec::Merge as M;
use super::spec::Search as S;
use super::spec::Treatment::{self, EveryShard, FixedShard, Keyed, Search};

/// The reviewed rows. The comments say why.
pub(super) const REVIEWED: &[(Treatment, &[&str])] = &[
    (Search(S::Query), &["ft.search"]),
    (Search(S::Aggregate), &["ft.aggregate"]),
    (Search(S::Info), &["ft.info"]),
    (Search(S::TagValues), &["ft.tagvals"]),
    // An index is made, changed and dropped wherever its documents are.
    (
        Search(S::Change { change: Adds, names: 1 }),
        &["ft.create", "ft._createifnx", "ft.alter", "ft._alterifnx"],
    ),
    (
        Search(S::Change { change: Takes, names: 1 }),
        &["ft.dropindex", "ft._dropindexifx", "ft.drop", "ft._dropifx"],
    ),
    (Search(S::Change { change: Adds, names: 2 }), &["ft.aliasadd", "ft._aliasaddifnx"]),
    (Search(S::Change { change: Sets, names: 2 }), &["ft.aliasupdate"]),
    (Search(S::Change { change: Takes, names: 1 }), &["ft.aliasdel", "ft._aliasdelifx"]),
    (Search(S::Change { change: Sets, names: 1 }), &["ft.synupdate"]),
    // The same on each shard, since the above reach all.
    (Search(S::One), &["ft.explain", "ft.explaincli", "ft.syndump"]),
    (FixedShard, &["ft._list", "ft.dictdump"]),
    (EveryShard(M::AllSucceeded), &["ft.dictadd", "ft.dictdel", "ft.config"]),
    // What one shard says of its own part, or what lives in one server. Documents are hashes: HSET, HGETALL, DEL.
    (
        Search(S::Alone),
        &[
            "ft.add",
            "ft.cursor",
            "ft.debug",
            "ft.del",
            "ft.get",
            "ft.mget",
            "ft.profile",
            "ft.safeadd",
            "ft.spellcheck",
            "ft.synadd",
        ],
    ),
    // Suggestions are ordinary keys.
    (Keyed, &["ft.sugadd", "ft.sugdel", "ft.sugget", "ft.suglen"]),
];
