//! What the proxy does with each command. Follows from the servers' facts (keys, tips, flags); commands
//! without keys, about which facts say too little, are listed in one reviewed table with the reasons.

use super::facts::Facts;
use super::modules;
use super::spec::Cross as C;
use super::spec::Local as L;
use super::spec::Merge as M;
use super::spec::Refused as R;
use super::spec::Target;
use super::spec::TopicKind::{Channel, Pattern, Shard};
use super::spec::Transaction as T;
use super::spec::Transfer;
use super::spec::Treatment::{
    self, Blocking, Cross, EveryShard, FixedShard, Keyed, Local, Monitor, RandomKey, Refused, Scan, Scripted,
    Split as SplitBy, Subscribe, Tracking, Transaction, Unsubscribe,
};
use super::spec::{Flags, Split as S};

/// The treatment of the command `name`.
pub(super) fn treatment_of(name: &str, flags: Flags, facts: &Facts) -> Treatment {
    let reviewed = REVIEWED.iter().find(|(_, names)| names.contains(&name)).map(|(treatment, _)| *treatment);
    reviewed.or_else(|| modules::treatment(name)).unwrap_or_else(|| from_facts(name, flags, facts))
}

/// What the facts alone say, for commands that nobody reviewed: those with keys, and learned ones.
fn from_facts(name: &str, flags: Flags, facts: &Facts) -> Treatment {
    let is_keyed = !facts.key_specs.is_empty() || facts.triple[0] > 0;
    let reads_streams = matches!(name, "xread" | "xreadgroup");
    match facts.tip("request_policy") {
        _ if flags.contains(Flags::BLOCKING) && !reads_streams => Blocking,
        _ if flags.contains(Flags::PUBSUB) && !is_keyed => Refused(R::Subscribe),
        _ if is_keyed => Keyed,
        _ if flags.contains(Flags::ADMIN) => Refused(R::NodeAdmin),
        _ if facts.categories.iter().any(|category| &**category == "connection") => Refused(R::Connection),
        // Without a response policy the servers mean: arrays, one behind the other.
        Some("all_shards" | "all_nodes") if facts.tip("response_policy").is_none() => EveryShard(M::Concat),
        Some("all_shards" | "all_nodes") => merge_of(facts).map_or(Refused(R::EveryShard), EveryShard),
        // A help text is the same everywhere, as is what a keyless module command computes.
        _ => FixedShard,
    }
}

fn merge_of(facts: &Facts) -> Option<M> {
    match facts.tip("response_policy")? {
        "agg_sum" => Some(M::Sum),
        "agg_min" => Some(M::Min),
        "agg_logical_and" => Some(M::And),
        "all_succeeded" => Some(M::AllSucceeded),
        "one_succeeded" => Some(M::OneSucceeded),
        _ => None,
    }
}

/// The reviewed rows. The comments say why.
const REVIEWED: &[(Treatment, &[&str])] = &[
    // Cut into one part a shard, as clients of one big server expect; the servers' own tip (multi_shard).
    (SplitBy(S::Gather), &["mget"]),
    (SplitBy(S::Sum), &["del", "unlink", "exists", "touch"]),
    (SplitBy(S::Pairs), &["mset"]),
    // With NX or XX it is all-or-nothing and stays whole: CROSSSLOT where it crosses.
    (SplitBy(S::Counted), &["msetex"]),
    // In one slot as they are; over several in steps (`route/plan/`), each the best that can be had without a
    // transaction over shards: best effort, in order, copies before anything is removed.
    (
        Cross(C::Gather(Target::None)),
        &[
            "lcs",
            "pfcount",
            "sdiff",
            "sinter",
            "sintercard",
            "sunion",
            "zdiff",
            "zinter",
            "zintercard",
            "zunion",
        ],
    ),
    (
        Cross(C::Gather(Target::First)),
        &[
            "bitop",
            "geosearchstore",
            "pfmerge",
            "sdiffstore",
            "sinterstore",
            "sunionstore",
            "zdiffstore",
            "zinterstore",
            "zrangestore",
            "zunionstore",
        ],
    ),
    (Cross(C::Gather(Target::Last)), &["georadius", "georadiusbymember", "sort"]),
    (Cross(C::Transfer(Transfer::Copy)), &["copy"]),
    (Cross(C::Transfer(Transfer::Rename)), &["rename"]),
    (Cross(C::Transfer(Transfer::RenameNx)), &["renamenx"]),
    (Cross(C::Member), &["smove"]),
    (Cross(C::Element), &["lmove", "rpoplpush"]),
    (Cross(C::AllOrNone), &["msetnx"]),
    (Cross(C::First), &["lmpop", "zmpop"]),
    (Cross(C::Streams), &["xread", "xreadgroup"]),
    // By their keys; what the server lacks of what they call is given to it.
    (Scripted, &["eval", "eval_ro", "evalsha", "evalsha_ro", "fcall", "fcall_ro"]),
    // Walks through all shards.
    (Scan, &["scan"]),
    (RandomKey, &["randomkey"]),
    // The data of all shards together is what one big server holds.
    (EveryShard(M::Sum), &["dbsize"]),
    (EveryShard(M::Concat), &["keys"]),
    (EveryShard(M::AllSucceeded), &["flushall", "flushdb"]),
    // Scripts and functions must be wherever their keys lead. KILL: the script runs on one shard, the others
    // answer NOTBUSY.
    (EveryShard(M::AllSucceeded), &["script|load", "script|flush"]),
    (EveryShard(M::And), &["script|exists"]),
    (EveryShard(M::OneSucceeded), &["script|kill", "function|kill"]),
    (
        EveryShard(M::AllSucceeded),
        &["function|load", "function|delete", "function|flush", "function|restore"],
    ),
    // The same on each shard, since the above reach all. FUNCTION STATS tells the libraries of all and the
    // running script of the one that answers. SCRIPT SHOW: the source of a loaded script.
    (FixedShard, &["function|list", "function|dump", "function|stats", "script|show"]),
    // Settings: every primary is set, one is asked. A replica promoted later keeps its own file's settings,
    // as with any cluster.
    (FixedShard, &["config|get"]),
    (EveryShard(M::AllSucceeded), &["config|set", "config|resetstat", "config|rewrite", "memory|purge"]),
    // "Saved since then" is true of the whole where it is true of the shard that saved longest ago.
    (EveryShard(M::Min), &["lastsave"]),
    // Diagnosis that is a list of events: every shard's, one behind the other. Counts add up.
    (EveryShard(M::Concat), &["slowlog|get", "commandlog|get", "latency|history", "latency|latest"]),
    (EveryShard(M::Sum), &["slowlog|len", "commandlog|len", "latency|reset"]),
    (EveryShard(M::AllSucceeded), &["slowlog|reset", "commandlog|reset"]),
    // A published message reaches the subscribers of all nodes over the cluster bus; with standalone shards
    // publishers and subscribers meet on the fixed one. The count returned is that node's, as always.
    (FixedShard, &["publish"]),
    // Text or lists that depend on the server's version only, or draw random bytes.
    (
        FixedShard,
        &[
            "acl|cat",
            "acl|genpass",
            "acl|help",
            "commandlog|help",
            "config|help",
            "function|help",
            "latency|help",
            "memory|help",
            "module|help",
            "module|list",
            "object|help",
            "pubsub|help",
            "script|help",
            "slowlog|help",
            "xgroup|help",
            "xinfo|help",
        ],
    ),
    // The documentation of commands is the server's; GETKEYSANDFLAGS needs its parsers.
    (FixedShard, &["command|docs", "command|getkeysandflags"]),
    // Containers, which are nothing by themselves: their arity or their subcommand decides before this does.
    (
        FixedShard,
        &[
            "acl",
            "config",
            "commandlog",
            "function",
            "latency",
            "memory",
            "module",
            "object",
            "pubsub",
            "script",
            "slowlog",
            "xgroup",
            "xinfo",
        ],
    ),
    // The proxy is the client's server.
    (Local(L::Ping), &["ping"]),
    (Local(L::Echo), &["echo"]),
    (Local(L::Time), &["time"]),
    (Local(L::Role), &["role"]),
    (Local(L::Lolwut), &["lolwut"]),
    (Local(L::Hello), &["hello"]),
    (Local(L::Auth), &["auth"]),
    (Local(L::Select), &["select"]),
    (Local(L::Quit), &["quit"]),
    (Local(L::Reset), &["reset"]),
    (Local(L::Info), &["info"]),
    (Local(L::Accept), &["readonly", "readwrite"]),
    (Local(L::Acl), &["acl|whoami"]),
    (
        Local(L::Command),
        &["command", "command|count", "command|getkeys", "command|help", "command|info", "command|list"],
    ),
    (
        Local(L::Client),
        &[
            "client",
            "client|capa",
            "client|getname",
            "client|help",
            "client|id",
            "client|info",
            "client|kill",
            "client|list",
            "client|maint_notifications",
            "client|no-evict",
            "client|no-touch",
            "client|reply",
            "client|setinfo",
            "client|setname",
            "client|unblock",
        ],
    ),
    (
        Local(L::Cluster),
        &[
            "cluster",
            "cluster|help",
            "cluster|info",
            "cluster|keyslot",
            "cluster|links",
            "cluster|myid",
            "cluster|myshardid",
            "cluster|nodes",
            "cluster|replicas",
            "cluster|shards",
            "cluster|slaves",
            "cluster|slots",
        ],
    ),
    // No server has these.
    (Local(L::Slotway), &["slotway", "slotway|commands", "slotway|help", "slotway|key", "slotway|topology"]),
    // Queued here and sent whole; WATCH takes a private connection.
    (Transaction(T::Multi), &["multi"]),
    (Transaction(T::Exec), &["exec"]),
    (Transaction(T::Discard), &["discard"]),
    (Transaction(T::Watch), &["watch"]),
    (Transaction(T::Unwatch), &["unwatch"]),
    // Their state would belong to a connection that others share.
    // Thousands of clients share one subscription of the worker's at a backend.
    (Subscribe(Channel), &["subscribe"]),
    (Subscribe(Pattern), &["psubscribe"]),
    (Subscribe(Shard), &["ssubscribe"]),
    (Unsubscribe(Channel), &["unsubscribe"]),
    (Unsubscribe(Pattern), &["punsubscribe"]),
    (Unsubscribe(Shard), &["sunsubscribe"]),
    // One node's clients are the proxies: what is shown is what the proxy's own say.
    (Monitor, &["monitor"]),
    // Reads that are tracked go over connections of the client's own.
    (Tracking, &["client|caching", "client|getredir", "client|tracking", "client|trackinginfo"]),
    // They speak of the writes of their own connection, which here are everyone's.
    (Refused(R::Wait), &["wait", "waitaof"]),
    // A node's subscribers are those of the proxies and of whoever goes past them: the proxy tells its own.
    (
        Local(L::Pubsub),
        &["pubsub|channels", "pubsub|numpat", "pubsub|numsub", "pubsub|shardchannels", "pubsub|shardnumsub"],
    ),
    // Reports of one process, which can't be merged: ask the node.
    (
        Refused(R::NodeAdmin),
        &[
            "latency|doctor",
            "latency|graph",
            "latency|histogram",
            "memory|doctor",
            "memory|malloc-stats",
            "memory|stats",
        ],
    ),
    // Change a node, its process or the cluster's shape, or stop all clients.
    (
        Refused(R::NodeAdmin),
        &[
            "bgrewriteaof",
            "bgsave",
            "client|import-source",
            "client|pause",
            "client|unpause",
            "debug",
            "failover",
            "migrate",
            "module|load",
            "module|loadex",
            "module|unload",
            "pfdebug",
            "pfselftest",
            "replicaof",
            "save",
            "script|debug",
            "shutdown",
            "slaveof",
            "swapdb",
        ],
    ),
    // Spoken between nodes.
    (Refused(R::NodeAdmin), &["asking", "psync", "replconf", "restore-asking", "sync"]),
    // The users of the backends are not those of the proxy's clients.
    (
        Refused(R::NodeAdmin),
        &[
            "acl|deluser",
            "acl|dryrun",
            "acl|getuser",
            "acl|list",
            "acl|load",
            "acl|log",
            "acl|save",
            "acl|setuser",
            "acl|users",
        ],
    ),
    // The cluster behind the proxy is not the client's to see or change; what of CLUSTER is answered here
    // shows one node that owns every slot.
    (
        Refused(R::NodeAdmin),
        &[
            "cluster|addslots",
            "cluster|addslotsrange",
            "cluster|bumpepoch",
            "cluster|cancelslotmigrations",
            "cluster|count-failure-reports",
            "cluster|countkeysinslot",
            "cluster|delslots",
            "cluster|delslotsrange",
            "cluster|failover",
            "cluster|flushslot",
            "cluster|flushslots",
            "cluster|forget",
            "cluster|getkeysinslot",
            "cluster|getslotmigrations",
            "cluster|meet",
            "cluster|migrateslots",
            "cluster|replicate",
            "cluster|reset",
            "cluster|saveconfig",
            "cluster|set-config-epoch",
            "cluster|setslot",
            "cluster|slot-stats",
            "cluster|syncslots",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::spec::Keys;
    use crate::command::table::Table;

    fn reviewed(name: &str) -> bool {
        REVIEWED.iter().any(|(_, names)| names.contains(&name)) || modules::treatment(name).is_some()
    }

    #[test]
    fn every_command_without_keys_is_reviewed() {
        let table = Table::builtin();
        let missing: Vec<_> = table
            .iter()
            .filter(|row| row.keys == Keys::None && !reviewed(&row.name))
            .map(|row| &row.name)
            .collect();
        assert_eq!(missing, Vec::<&Box<str>>::new());
    }

    #[test]
    fn the_reviewed_list_names_each_command_once_and_only_commands() {
        let table = Table::builtin();
        let mut names: Vec<_> = REVIEWED.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        for name in &names {
            assert!(table.by_full_name(name.as_bytes()).is_some(), "{name}");
        }
        names.sort_unstable();
        assert_eq!(names.windows(2).find(|pair| pair[0] == pair[1]), None);
    }

    #[test]
    fn commands_with_keys_that_no_one_reviewed_follow_their_keys() {
        let table = Table::builtin();
        for row in table.iter().filter(|row| !reviewed(&row.name)) {
            let blocks = row.flags.contains(Flags::BLOCKING) && row.keys != Keys::Streams;
            assert_eq!(row.treatment, if blocks { Blocking } else { Keyed }, "{}", row.name);
        }
    }

    #[test]
    fn the_blocking_commands_are_those() {
        let table = Table::builtin();
        let blocking: Vec<_> =
            table.iter().filter(|row| row.treatment == Blocking).map(|row| &*row.name).collect();
        let known = ["blmove", "blmpop", "blpop", "brpop", "brpoplpush", "bzmpop", "bzpopmax", "bzpopmin"];
        assert_eq!(blocking, known);
    }

    #[test]
    fn no_tip_of_the_servers_is_contradicted() {
        for row in Table::builtin().iter() {
            if let (EveryShard(merge), Some(told)) = (row.treatment, merge_of(&row.facts)) {
                assert_eq!(merge, told, "{}", row.name);
            }
        }
    }
}
