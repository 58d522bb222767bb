//! What a command is to a client in a namespace: one reviewed row for each. What has no row is refused, so that no
//! server's next version opens a way to the keys of others. A row says where the request carries names that the
//! namespace prefixes, and where the reply carries names that lose it again; `tenant/` does both.

/// How a command is served in a namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InNamespace {
    /// It is served.
    Served {
        /// Where the request carries names.
        asks: Asks,
        /// Where the reply does.
        tells: Tells,
    },
    /// It is refused.
    Refused(Unsafe),
}

/// Where a request carries names of keys or channels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asks {
    /// Nowhere.
    Nothing,
    /// Where its key specs say; a request in which they find none is refused.
    Keys,
    /// Where its key specs say, which may be nowhere (EVAL with no keys).
    AnyKeys,
    /// In argument 2, though no key spec says so (CLUSTER KEYSLOT).
    SecondArgument,
    /// XREAD, XREADGROUP: as [`Self::Keys`]; an option that is not known is refused, as what follows it may be anything.
    Streams,
    /// SORT: as [`Self::Keys`], and the patterns of BY and GET.
    Sort,
    /// COPY: two keys, of which the second may be in another database.
    Copy,
    /// MOVE: a key and a database.
    Move,
    /// SCAN: MATCH.
    Scan,
    /// KEYS, DBSIZE, RANDOMKEY, FLUSHDB, FLUSHALL: they speak of the whole namespace, which is walked through.
    All(All),
    /// One channel, argument 1.
    Channel,
    /// Channels from this argument on.
    Channels(u8),
    /// Patterns of channels from this argument on.
    Patterns(u8),
    /// PUBSUB CHANNELS: a pattern in argument 2; without one all of the namespace.
    OnePattern,
    /// CLIENT TRACKING: PREFIX.
    Prefixes,
    /// EVAL: where its key specs say; and what its script calls keys.
    Body,
    /// EVALSHA: the same of a script that was said before.
    Called,
    /// SCRIPT LOAD: what the script calls keys.
    Load,
    /// SCRIPT EXISTS, of the namespace's own.
    Exist,
    /// SCRIPT FLUSH, of the namespace's own.
    Forget,
    /// SLOWLOG and COMMANDLOG, GET and LEN: entries of its own commands.
    Log,
}

/// What is asked of all keys of a namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum All {
    /// KEYS: the names that match.
    Names,
    /// DBSIZE: how many there are.
    Count,
    /// RANDOMKEY: any one.
    Any,
    /// FLUSHDB: to be removed.
    Remove,
    /// FLUSHALL: those of all databases too.
    RemoveEverywhere,
}

/// Where a reply carries names. In errors they are looked for whatever the row says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tells {
    /// Nowhere.
    Nothing,
    /// The first element of an array.
    First,
    /// The streams of XREAD: first elements of an array's arrays, or a map's keys.
    Streams,
    /// Every element; one without the prefix is left out.
    Names,
    /// The same in the second element, behind a cursor.
    Scan,
    /// The whole reply.
    Name,
    /// Every second element, from the first on.
    EverySecond,
    /// Anywhere: each string that begins with the prefix (scripts).
    Anywhere,
    /// No name, but RENAMENX answers for MOVE, which calls a missing key 0.
    Moved,
}

/// Why a command is refused in a namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsafe {
    /// Nobody has looked at it yet.
    Unreviewed,
    /// It shows or changes a server, which others share.
    Server,
    /// Scripts and functions of a server are everyone's.
    Scripts,
    /// Its payload is taken at its word by a server that others share.
    Payload,
    /// It speaks of keys or indexes of all who share the servers.
    Everyone,
    /// It changes what a numbered database means.
    Databases,
}

impl InNamespace {
    /// What is told of it on the page of commands.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Served { asks: Asks::Nothing, .. } => "served",
            Self::Served { asks: Asks::Scan | Asks::All(_), .. } => "its own keys only",
            Self::Served { asks: Asks::Body | Asks::Called, .. } => "own names, also within the script",
            Self::Served { asks: Asks::Log, .. } => "entries of its own commands",
            Self::Served { asks: Asks::Load | Asks::Exist | Asks::Forget, .. } => "its own scripts only",
            Self::Served { asks: Asks::Sort, .. } => "own names; BY and GET too",
            Self::Served { asks: Asks::Copy | Asks::Move, .. } => "own names, in any of its databases",
            Self::Served { .. } => "own names",
            Self::Refused(why) => match why {
                Unsafe::Unreviewed => "refused: not reviewed",
                Unsafe::Server => "refused: others share the servers",
                Unsafe::Scripts => "refused: others share scripts and functions",
                Unsafe::Payload => "refused: a made-up payload harms others",
                Unsafe::Databases => "refused: databases are parts of names",
                Unsafe::Everyone => "refused: it speaks of everyone's keys",
            },
        }
    }
}

impl Unsafe {
    /// The reason, as a client is told it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Unreviewed => "it is not known to stay within a namespace",
            Self::Server => "it shows or changes servers that others share",
            Self::Scripts => "scripts and functions of a server are shared by all who use it",
            Self::Payload => "a made-up payload can harm a server that others share",
            Self::Everyone => "it speaks of the keys of all who share the servers",
            Self::Databases => "the databases of a namespace are parts of its keys' names",
        }
    }
}

/// The row of the command `name`.
pub(super) fn of(name: &str) -> InNamespace {
    let served = SERVED.iter().find(|(.., names)| names.contains(&name));
    let served = served.map(|(asks, tells, _)| InNamespace::Served { asks: *asks, tells: *tells });
    let refused = || REFUSED.iter().find(|(_, names)| names.contains(&name)).map(|(why, _)| *why);
    let family = || FAMILIES.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, row)| *row);
    served
        .or_else(|| refused().map(InNamespace::Refused))
        .or_else(family)
        .unwrap_or(InNamespace::Refused(Unsafe::Unreviewed))
}

/// Whole families that are refused, whatever a version brings.
const FAMILIES: &[(&str, InNamespace)] = &[
    // Names of indexes are everyone's, and they hold documents by prefixes of names.
    ("ft.", InNamespace::Refused(Unsafe::Everyone)),
    ("_ft.", InNamespace::Refused(Unsafe::Everyone)),
    ("timeseries.", InNamespace::Refused(Unsafe::Server)),
];

/// What is served, by where names stand.
// Some 350 names: one a line they would be no table any more.
#[rustfmt::skip]
const SERVED: &[(Asks, Tells, &[&str])] = &[
    // One key or several, where the servers' key specs say; values only in the reply.
    (
        Asks::Keys,
        Tells::Nothing,
        &[
            // Strings.
            "append", "bitcount", "bitfield", "bitfield_ro", "bitop", "bitpos", "decr", "decrby", "delex",
            "delifeq", "digest", "get", "getbit", "getdel", "getex", "getrange", "getset", "incr", "incrby",
            "incrbyfloat", "lcs", "mget", "mset", "msetex", "msetnx", "psetex", "set", "setbit", "setex",
            "setnx", "setrange", "strlen", "substr",
            // Keys of any type. DUMP shows a value only, not its name.
            "del", "dump", "exists", "expire", "expireat", "expiretime", "persist", "pexpire", "pexpireat",
            "pexpiretime", "pttl", "rename", "renamenx", "touch", "ttl", "type", "unlink", "memory|usage",
            "object|encoding", "object|freq", "object|idletime", "object|refcount", "watch",
            // Hashes.
            "hdel", "hexists", "hexpire", "hexpireat", "hexpiretime", "hget", "hgetall", "hgetdel", "hgetex",
            "hincrby", "hincrbyfloat", "hkeys", "hlen", "hmget", "hmset", "hpersist", "hpexpire",
            "hpexpireat", "hpexpiretime", "hpttl", "hrandfield", "hscan", "hset", "hsetex", "hsetnx",
            "hstrlen", "httl", "hvals",
            // Lists.
            "blmove", "brpoplpush", "lindex", "linsert", "llen", "lmove", "lpop", "lpos", "lpush", "lpushx",
            "lrange", "lrem", "lset", "ltrim", "rpop", "rpoplpush", "rpush", "rpushx",
            // Sets.
            "sadd", "scard", "sdiff", "sdiffstore", "sinter", "sintercard", "sinterstore", "sismember",
            "smembers", "smismember", "smove", "spop", "srandmember", "srem", "sscan", "sunion",
            "sunionstore",
            // Sorted sets.
            "zadd", "zcard", "zcount", "zdiff", "zdiffstore", "zincrby", "zinter", "zintercard",
            "zinterstore", "zlexcount", "zmscore", "zpopmax", "zpopmin", "zrandmember", "zrange",
            "zrangebylex", "zrangebyscore", "zrangestore", "zrank", "zrem", "zremrangebylex",
            "zremrangebyrank", "zremrangebyscore", "zrevrange", "zrevrangebylex", "zrevrangebyscore",
            "zrevrank", "zscan", "zscore", "zunion", "zunionstore",
            // Places, sketches.
            "geoadd", "geodist", "geohash", "geopos", "georadius", "georadius_ro", "georadiusbymember",
            "georadiusbymember_ro", "geosearch", "geosearchstore", "pfadd", "pfcount", "pfmerge",
            // Streams.
            "xack", "xackdel", "xadd", "xautoclaim", "xclaim", "xdel", "xdelex", "xgroup|create",
            "xgroup|createconsumer", "xgroup|delconsumer", "xgroup|destroy", "xgroup|setid",
            "xinfo|consumers", "xinfo|groups", "xinfo|stream", "xlen", "xpending", "xrange", "xrevrange",
            "xsetid", "xtrim",
            // Vectors: of the servers, and of Tair, whose index is a key.
            "vadd", "vcard", "vdim", "vemb", "vgetattr", "vinfo", "vismember", "vlinks", "vrandmember",
            "vrange", "vrem", "vsetattr", "vsim", "tvs.createindex", "tvs.del", "tvs.delindex",
            "tvs.getdistance", "tvs.getindex", "tvs.hdel", "tvs.hexpire", "tvs.hexpireat",
            "tvs.hexpiretime", "tvs.hget", "tvs.hgetall", "tvs.hincrby", "tvs.hincrbyfloat", "tvs.hlen",
            "tvs.hmget", "tvs.hpexpire", "tvs.hpexpireat", "tvs.hpexpiretime", "tvs.hpttl", "tvs.hset",
            "tvs.httl", "tvs.knnsearch", "tvs.knnsearchfield", "tvs.mknnsearch", "tvs.scan",
            // Documents.
            "json.arrappend", "json.arrindex", "json.arrinsert", "json.arrlen", "json.arrpop",
            "json.arrtrim", "json.clear", "json.del", "json.forget", "json.get", "json.merge", "json.mget",
            "json.mset", "json.numincrby", "json.nummultby", "json.numpowby", "json.objkeys",
            "json.objlen", "json.resp", "json.set", "json.strappend", "json.strlen", "json.toggle",
            "json.type",
            // Filters and sketches of the module.
            "bf.add", "bf.card", "bf.exists", "bf.info", "bf.insert", "bf.madd", "bf.mexists",
            "bf.reserve", "bf.scandump", "cf.add", "cf.addnx", "cf.compact", "cf.count", "cf.del",
            "cf.exists", "cf.info", "cf.insert", "cf.insertnx", "cf.mexists", "cf.reserve", "cf.scandump",
            "cms.incrby", "cms.info", "cms.initbydim", "cms.initbyprob", "cms.merge", "cms.query",
            "tdigest.add", "tdigest.byrank", "tdigest.byrevrank", "tdigest.cdf", "tdigest.create",
            "tdigest.info", "tdigest.max", "tdigest.merge", "tdigest.min", "tdigest.quantile",
            "tdigest.rank", "tdigest.reset", "tdigest.revrank", "tdigest.trimmed_mean", "topk.add",
            "topk.count", "topk.incrby", "topk.info", "topk.list", "topk.query", "topk.reserve",
            // Time series, one at a time or by name.
            "ts.add", "ts.alter", "ts.create", "ts.createrule", "ts.decrby", "ts.del", "ts.deleterule",
            "ts.get", "ts.incrby", "ts.madd", "ts.range", "ts.revrange",
        ],
    ),
    // Indexes are named in the reply, beside each hit.
    (
        Asks::Keys,
        Tells::Anywhere,
        &["tvs.mindexknnsearch", "tvs.mindexknnsearchfield", "tvs.mindexmknnsearch"],
    ),
    // Tells the rules of a series, which name others.
    (Asks::Keys, Tells::Anywhere, &["ts.info"]),
    // They say which of the keys had something.
    (
        Asks::Keys,
        Tells::First,
        &["blmpop", "blpop", "brpop", "bzmpop", "bzpopmax", "bzpopmin", "lmpop", "zmpop"],
    ),
    (Asks::Streams, Tells::Streams, &["xread", "xreadgroup"]),
    (Asks::Sort, Tells::Nothing, &["sort", "sort_ro"]),
    (Asks::Copy, Tells::Nothing, &["copy"]),
    (Asks::Move, Tells::Moved, &["move"]),
    (Asks::Scan, Tells::Scan, &["scan"]),
    (Asks::All(All::Names), Tells::Names, &["keys"]),
    (Asks::All(All::Count), Tells::Nothing, &["dbsize"]),
    (Asks::All(All::Any), Tells::Name, &["randomkey"]),
    (Asks::All(All::Remove), Tells::Nothing, &["flushdb"]),
    (Asks::All(All::RemoveEverywhere), Tells::Nothing, &["flushall"]),
    // A function may return what it was given.
    (Asks::AnyKeys, Tells::Anywhere, &["fcall", "fcall_ro"]),
    // A script sees the names that its author wrote, unless it goes out of its way.
    (Asks::Body, Tells::Anywhere, &["eval", "eval_ro"]),
    (Asks::Called, Tells::Anywhere, &["evalsha", "evalsha_ro"]),
    (Asks::Load, Tells::Nothing, &["script|load"]),
    (Asks::Exist, Tells::Nothing, &["script|exists"]),
    (Asks::Forget, Tells::Nothing, &["script|flush"]),
    (Asks::Nothing, Tells::Nothing, &["script", "script|help"]),
    // RESET is refused: it would forget those of others too.
    (Asks::Log, Tells::Nothing, &["commandlog|get", "commandlog|len", "slowlog|get", "slowlog|len"]),
    (Asks::Channel, Tells::Nothing, &["publish", "spublish"]),
    (Asks::Channels(1), Tells::Nothing, &["ssubscribe", "subscribe", "sunsubscribe", "unsubscribe"]),
    (Asks::Patterns(1), Tells::Nothing, &["psubscribe", "punsubscribe"]),
    (Asks::OnePattern, Tells::Names, &["pubsub|channels", "pubsub|shardchannels"]),
    (Asks::Channels(2), Tells::EverySecond, &["pubsub|numsub", "pubsub|shardnumsub"]),
    (Asks::Nothing, Tells::Nothing, &["pubsub|numpat"]),
    (Asks::Prefixes, Tells::Nothing, &["client|tracking"]),
    (Asks::Nothing, Tells::Anywhere, &["client|trackinginfo"]),
    (Asks::SecondArgument, Tells::Nothing, &["cluster|keyslot"]),
    // EXEC's reply is told by what was queued.
    (Asks::Nothing, Tells::Nothing, &["discard", "exec", "multi", "unwatch"]),
    // Answered by the proxy of itself, or of the client and its tenant's others.
    (
        Asks::Nothing,
        Tells::Nothing,
        &[
            "acl|whoami", "auth", "client", "client|caching", "client|capa", "client|getname",
            "client|getredir", "client|help", "client|id", "client|info", "client|kill", "client|list",
            "client|maint_notifications", "client|no-evict", "client|no-touch", "client|reply", "client|setinfo", "client|setname",
            "client|unblock", "cluster", "cluster|help", "cluster|info", "cluster|links", "cluster|myid",
            "cluster|myshardid", "cluster|nodes", "cluster|replicas", "cluster|shards", "cluster|slaves",
            "cluster|slots", "command", "command|count", "command|getkeys", "command|help", "command|info",
            "command|list", "echo", "hello", "info", "lolwut", "monitor", "ping", "quit", "readonly",
            "readwrite", "reset", "role", "select", "slotway", "slotway|commands", "slotway|help", "time",
        ],
    ),
    // Texts and lists that are the same whoever asks.
    (
        Asks::Nothing,
        Tells::Nothing,
        &[
            "acl", "acl|cat", "acl|genpass", "acl|help", "command|docs", "command|getkeysandflags",
            "commandlog", "commandlog|help", "config", "config|help", "function", "function|help",
            "latency", "latency|help", "memory", "memory|help", "module", "module|help", "object",
            "object|help", "pubsub", "pubsub|help", "slowlog", "slowlog|help", "xgroup", "xgroup|help",
            "xinfo", "xinfo|help",
        ],
    ),
];

/// What is refused, by its reason.
#[rustfmt::skip]
const REFUSED: &[(Unsafe, &[&str])] = &[
    (
        Unsafe::Server,
        &[
            // Users, settings, logs and persistence of a server.
            "acl|deluser", "acl|dryrun", "acl|getuser", "acl|list", "acl|load", "acl|log", "acl|save",
            "acl|setuser", "acl|users", "bgrewriteaof", "bgsave", "client|import-source", "client|pause",
            "client|unpause", "commandlog|reset", "config|get",
            "config|resetstat", "config|rewrite", "config|set", "debug", "failover", "lastsave",
            "latency|doctor", "latency|graph", "latency|histogram", "latency|history", "latency|latest",
            "latency|reset", "memory|doctor", "memory|malloc-stats", "memory|purge", "memory|stats",
            "module|list", "module|load", "module|loadex", "module|unload", "pfdebug", "pfselftest",
            "replicaof", "save", "shutdown", "slaveof", "slowlog|reset",
            "wait", "waitaof", "bf.debug", "cf.debug", "json.debug",
            // Spoken between servers; MIGRATE takes keys to any address.
            "asking", "migrate", "psync", "replconf", "restore-asking", "sync",
            // The cluster behind the proxy.
            "cluster|addslots", "cluster|addslotsrange", "cluster|bumpepoch",
            "cluster|cancelslotmigrations", "cluster|count-failure-reports", "cluster|delslots",
            "cluster|delslotsrange", "cluster|failover", "cluster|flushslot", "cluster|flushslots",
            "cluster|forget", "cluster|getslotmigrations", "cluster|meet", "cluster|migrateslots",
            "cluster|replicate", "cluster|reset", "cluster|saveconfig", "cluster|set-config-epoch",
            "cluster|setslot", "cluster|slot-stats", "cluster|syncslots", "slotway|key",
            "slotway|topology",
        ],
    ),
    // FUNCTION LOAD REPLACE overwrites another's library, FLUSH and DELETE remove it, LIST, DUMP, STATS and SHOW show
    // it, KILL stops it.
    (
        Unsafe::Scripts,
        &[
            "function|delete", "function|dump", "function|flush", "function|kill", "function|list",
            "function|load", "function|restore", "function|stats", "script|debug",
            "script|kill", "script|show",
        ],
    ),
    // The servers check a payload's sum, which anybody can compute, and believe the rest.
    (Unsafe::Payload, &["bf.loadchunk", "cf.loadchunk", "restore"]),
    (
        Unsafe::Everyone,
        &[
            "cluster|countkeysinslot", "cluster|getkeysinslot", "clusterscan", "ts.mget", "ts.mrange",
            "ts.mrevrange", "ts.queryindex", "tvs.scanindex",
        ],
    ),
    (Unsafe::Databases, &["swapdb"]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::spec::{Keys, Treatment};
    use crate::command::table::Table;

    fn names() -> Vec<&'static str> {
        let served = SERVED.iter().flat_map(|(.., names)| names.iter().copied());
        served.chain(REFUSED.iter().flat_map(|(_, names)| names.iter().copied())).collect()
    }

    #[test]
    fn every_command_of_the_table_is_reviewed() {
        let table = Table::builtin();
        let unreviewed = table.iter().filter(|row| of(&row.name) == InNamespace::Refused(Unsafe::Unreviewed));
        assert_eq!(unreviewed.map(|row| &*row.name).collect::<Vec<_>>(), Vec::<&str>::new());
        assert_eq!(of("what.comes.next"), InNamespace::Refused(Unsafe::Unreviewed));
    }

    #[test]
    fn no_command_stands_twice() {
        let mut sorted = names();
        sorted.sort_unstable();
        assert_eq!(sorted.windows(2).find(|pair| pair[0] == pair[1]), None);
    }

    /// A row that a typing error made would review nothing, and leave the command refused.
    #[test]
    fn rows_are_of_commands() {
        const MODULES: &[&str] = &["bf.", "cf.", "cms.", "json.", "tdigest.", "topk.", "ts."];
        let table = Table::builtin();
        let is_known = |name: &&str| {
            table.by_full_name(name.as_bytes()).is_some()
                || MODULES.iter().any(|module| name.starts_with(module))
        };
        assert_eq!(
            names().into_iter().filter(|name| !is_known(name)).collect::<Vec<_>>(),
            Vec::<&str>::new()
        );
    }

    #[test]
    fn a_command_with_keys_has_them_prefixed_or_is_refused() {
        for row in Table::builtin().iter().filter(|row| row.keys != Keys::None) {
            match of(&row.name) {
                InNamespace::Refused(_) => {}
                InNamespace::Served { asks: Asks::Nothing, .. } => panic!("{}: its keys stay", row.name),
                InNamespace::Served { .. } => {}
            }
        }
        for row in Table::builtin().iter().filter(|row| row.keys == Keys::None) {
            let asks = of(&row.name);
            let keyed = matches!(asks, InNamespace::Served { asks: Asks::Keys | Asks::Streams, .. });
            assert!(!keyed, "{}: it has no keys", row.name);
        }
    }

    /// Nothing that reaches a server without being looked at for names may be about more than a key.
    #[test]
    fn what_goes_to_every_shard_is_refused_or_walked() {
        for row in Table::builtin().iter() {
            let everywhere = matches!(
                row.treatment,
                Treatment::EveryShard(_) | Treatment::Series | Treatment::RandomKey | Treatment::Search(_)
            );
            let by_name = matches!(&*row.name, "script|load" | "script|exists" | "script|flush");
            if everywhere && !by_name {
                let row_of = of(&row.name);
                let walked = matches!(row_of, InNamespace::Served { asks: Asks::All(_) | Asks::Log, .. });
                assert!(walked || matches!(row_of, InNamespace::Refused(_)), "{}: {row_of:?}", row.name);
            }
        }
    }
}
