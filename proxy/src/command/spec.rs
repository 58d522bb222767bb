//! One command's facts, as the servers' own metadata gives them, and what the proxy does with it.

use std::num::NonZeroU16;

use super::facts::Facts;
use super::reviewed::{self, InNamespace};
use super::{keys, reads, treatment};

/// One command or subcommand. Rows come from the checked-in table, see [`super::table`].
///
/// What every request needs stands here, what only COMMAND INFO needs behind the box of `facts`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spec {
    /// Lower case; a subcommand is `container|sub`, as the servers write it.
    pub name: Box<str>,
    /// Number of arguments, the name (for a subcommand: both names) included; negative means "at least".
    pub arity: i16,
    /// The server's command flags.
    pub flags: Flags,
    /// How its keys are found.
    pub keys: Keys,
    /// What the proxy does with it.
    pub treatment: Treatment,
    /// Whether a replica may answer it.
    pub reads: bool,
    /// What it is to a client in a namespace.
    pub in_namespace: InNamespace,
    /// Whether argument 1 names a subcommand, which then has a row of its own.
    pub container: bool,
    /// Its number in the table that it stands in, from 1.
    pub number: Option<NonZeroU16>,
    /// What is only told, never used on the path of a request.
    pub facts: Box<Facts>,
}

impl Spec {
    /// A row from what a server says; how keys are found and what the proxy does follow from it.
    #[must_use]
    pub fn new(name: &str, arity: i16, flags: Flags, facts: Facts) -> Self {
        let keys = keys::keys_of(name, &facts.key_specs);
        let treatment = treatment::treatment_of(name, flags, &facts);
        let reads = reads::may_leave_primary(name, flags);
        let in_namespace = reviewed::of(name);
        let (container, number, facts) = (false, None, Box::new(facts));
        Self {
            name: name.into(),
            arity,
            flags,
            keys,
            treatment,
            reads,
            in_namespace,
            container,
            number,
            facts,
        }
    }

    /// Whether a request of `len` arguments, the names included, has as many as the command takes.
    #[must_use]
    pub fn takes(&self, len: usize) -> bool {
        let least = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { len >= least } else { len == least }
    }

    /// Whether this is a row of a container, such as `config|get`.
    #[must_use]
    pub fn is_subcommand(&self) -> bool {
        self.name.contains('|')
    }
}

/// Where a command's keys stand. The first two variants are the fast path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Keys {
    /// No key.
    None,
    /// Exactly one key, argument number 1.
    First,
    /// XREAD, XREADGROUP: the first half of what follows STREAMS.
    Streams,
    /// SORT: argument 1 and what follows the STORE option; the servers say "unknown" of it.
    Sort,
    /// GEORADIUS: argument 1 and what follows STORE or STOREDIST, options that begin at this argument.
    Georadius(u16),
    /// By these key specs, each adding keys.
    Specs(Box<[KeySpec]>),
}

/// One key spec of COMMAND INFO: find where keys begin, then find them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeySpec {
    /// Where the keys begin.
    pub begin: BeginSearch,
    /// Which arguments from there on are keys.
    pub find: FindKeys,
}

/// `begin_search` of a key spec.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BeginSearch {
    /// At this argument.
    Index(u16),
    /// Behind this word (any case), searched from argument `from` on, or backwards from the end where negative.
    Keyword {
        /// The word, upper case.
        word: Box<str>,
        /// Where the search starts.
        from: i16,
    },
    /// The server doesn't say (SORT's STORE): code of ours finds them, see [`Keys::Sort`].
    Unknown,
}

/// `find_keys` of a key spec.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FindKeys {
    /// Keys up to `last` (relative to the first; negative: from the end), every `step` arguments; `limit`
    /// n >= 2 stops after 1/n of the remaining arguments.
    Range {
        /// Last key, relative to the first, or from the end where negative.
        last: i16,
        /// Distance between keys, at least 1.
        step: u16,
        /// With `last` of -1: the share of the arguments that holds keys; 0 and 1 mean no limit.
        limit: u16,
    },
    /// The number of keys stands in an argument.
    KeyNum {
        /// Where the number stands, relative to the beginning.
        count: u16,
        /// Where the first key stands, relative to the beginning.
        first: u16,
        /// Distance between keys, at least 1.
        step: u16,
    },
    /// Unknown to the server.
    Unknown,
}

/// What the proxy does with a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Treatment {
    /// To the shard of its keys, all in one slot; without keys to the fixed shard.
    Keyed,
    /// The same, and it calls a script or a function, which its server may lack.
    Scripted,
    /// Cut into one part a shard; the replies are merged in the caller's order.
    Split(Split),
    /// As [`Self::Keyed`] where its keys are in one slot; in several steps where they are not.
    Cross(Cross),
    /// To every primary; replies merged by this policy.
    EveryShard(Merge),
    /// To one fixed primary: what has no key but means the same on each.
    FixedShard,
    /// TS.MRANGE and its like: to every primary, whose answers stand behind each other, unless it asks for groups.
    Series,
    /// FT.*: about an index, of which every shard has a part.
    Search(Search),
    /// SCAN: shard by shard behind one opaque cursor.
    Scan,
    /// RANDOMKEY: a random shard first, the others where it is empty.
    RandomKey,
    /// Waits at the shard of its keys for data, on a private connection.
    Blocking,
    /// MULTI EXEC DISCARD WATCH UNWATCH.
    Transaction(Transaction),
    /// Answered by the proxy itself.
    Local(Local),
    /// SUBSCRIBE and its like: the proxy subscribes once for all its clients.
    Subscribe(TopicKind),
    /// UNSUBSCRIBE and its like.
    Unsubscribe(TopicKind),
    /// MONITOR: shows what the proxy's clients say.
    Monitor,
    /// CLIENT TRACKING and what speaks of it.
    Tracking,
    /// Refused, always: why.
    Refused(Refused),
}

/// What can be subscribed to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TopicKind {
    /// SUBSCRIBE: a channel, which all nodes of a cluster know of.
    Channel,
    /// PSUBSCRIBE: all channels that match.
    Pattern,
    /// SSUBSCRIBE: a channel of the shard that serves its slot.
    Shard,
}

impl TopicKind {
    /// The command that begins or ends a subscription, which is also the first word of its confirmation.
    #[must_use]
    pub fn command(self, subscribes: bool) -> &'static str {
        match (self, subscribes) {
            (Self::Channel, true) => "subscribe",
            (Self::Channel, false) => "unsubscribe",
            (Self::Pattern, true) => "psubscribe",
            (Self::Pattern, false) => "punsubscribe",
            (Self::Shard, true) => "ssubscribe",
            (Self::Shard, false) => "sunsubscribe",
        }
    }
}

/// How a command is carried out whose keys are in several slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cross {
    /// What it reads elsewhere is copied to where it writes, or reads most, and the server there runs it.
    Gather(Target),
    /// COPY, RENAME, RENAMENX: a value goes from its key to another.
    Transfer(Transfer),
    /// SMOVE: a member goes from a set to another.
    Member,
    /// LMOVE, RPOPLPUSH: an element goes from a list to another.
    Element,
    /// MSETNX: all keys are set or none.
    AllOrNone,
    /// LMPOP, ZMPOP: in the caller's order, until something is found.
    First,
    /// XREAD, XREADGROUP: each stream is read where it is.
    Streams,
}

/// Which of a command's keys is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// None.
    None,
    /// The first one.
    First,
    /// The last one, where there are two: an option's (SORT's STORE).
    Last,
}

/// What becomes of the old key, and of what the new one had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transfer {
    /// COPY.
    Copy,
    /// RENAME.
    Rename,
    /// RENAMENX.
    RenameNx,
}

/// What is asked of an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Search {
    /// FT.SEARCH
    Query,
    /// FT.AGGREGATE
    Aggregate,
    /// FT.INFO: numbers added up.
    Info,
    /// FT.TAGVALS: each value once.
    TagValues,
    /// Every shard does it; so many arguments from 1 on are names of indexes.
    Change {
        /// What it means when some shards had it already.
        change: Change,
        /// How many.
        names: u8,
    },
    /// What is the same on each shard: one is asked.
    One,
    /// Where one server has all only.
    Alone,
}

/// What a change of every shard does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// FT.CREATE and its like. Where one shard has it already the servers' error is the reply, and those that lacked it
    /// have it from now on: said again it repairs what failed half-way, and reaches a shard that joined.
    Adds,
    /// FT.DROPINDEX and its like: where one shard had it, it is gone from all.
    Takes,
    /// Anything else.
    Sets,
}

/// How a multi-key command is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Split {
    /// MGET: array elements put back in the caller's order.
    Gather,
    /// DEL UNLINK EXISTS TOUCH: integers added up.
    Sum,
    /// MSET: key-value pairs; one OK.
    Pairs,
    /// MSETEX: a count, that many pairs, then options; one integer. With NX or XX it stays whole.
    Counted,
    /// JSON.MGET: as MGET, with a path behind the keys.
    GatherPath,
    /// JSON.MSET: key, path and value; one OK.
    Triples,
    /// TS.MADD: key, timestamp and value; an array element for each.
    GatherTriples,
}

/// How the replies of every shard become one: the servers' `response_policy` tips.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Merge {
    /// Integers added up.
    Sum,
    /// The smallest integer.
    Min,
    /// Logical and of integers, or element by element of arrays of integers.
    And,
    /// The first reply where all succeeded, else the first error.
    AllSucceeded,
    /// The first success, else the first error.
    OneSucceeded,
    /// Arrays joined (KEYS).
    Concat,
}

/// Who answers inside the proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Local {
    /// PING
    Ping,
    /// ECHO
    Echo,
    /// TIME
    Time,
    /// ROLE
    Role,
    /// LOLWUT
    Lolwut,
    /// HELLO
    Hello,
    /// AUTH
    Auth,
    /// SELECT
    Select,
    /// QUIT
    Quit,
    /// RESET
    Reset,
    /// READONLY, READWRITE: accepted, and every read goes where it would anyway. Clients that know clusters say
    /// READONLY on every connection: it is no wish for older data.
    Accept,
    /// INFO
    Info,
    /// COMMAND and its subcommands; the spec's name tells which.
    Command,
    /// CLIENT and its subcommands.
    Client,
    /// CLUSTER and its subcommands.
    Cluster,
    /// ACL WHOAMI and other session questions.
    Acl,
    /// SLOTWAY and its subcommands: what the proxy tells of itself.
    Slotway,
    /// PUBSUB and its subcommands: they speak of the proxy's own subscribers.
    Pubsub,
}

/// The commands around a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transaction {
    /// MULTI
    Multi,
    /// EXEC
    Exec,
    /// DISCARD
    Discard,
    /// WATCH
    Watch,
    /// UNWATCH
    Unwatch,
}

/// Why a command is never served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// A subscription of a kind that we don't know.
    Subscribe,
    /// WAIT, WAITAOF: would speak of a connection that others share.
    Wait,
    /// Has keys that can't be found, before servers that don't redirect.
    HiddenKeys,
    /// Changes the connection that it comes over, which others share.
    Connection,
    /// Concerns every shard, and their answers can't be made one.
    EveryShard,
    /// Acts on one node or on the cluster's shape (SHUTDOWN, REPLICAOF, MIGRATE, CLUSTER RESET ...).
    NodeAdmin,
}

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $word:literal;)*) => {
        impl Flags {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

            /// Every flag with the word the servers use for it.
            pub const WORDS: &'static [(Self, &'static str)] = &[$((Self::$name, $word)),*];
        }
    };
}

/// A set of the servers' command flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(u32);

flags! {
    /// Changes data.
    WRITE = 0, "write";
    /// Only reads.
    READONLY = 1, "readonly";
    /// May need memory.
    DENYOOM = 2, "denyoom";
    /// For operators.
    ADMIN = 3, "admin";
    /// Pub/sub.
    PUBSUB = 4, "pubsub";
    /// Not in scripts.
    NOSCRIPT = 5, "noscript";
    /// May block the client.
    BLOCKING = 6, "blocking";
    /// Served while loading.
    LOADING = 7, "loading";
    /// Served by a stale replica.
    STALE = 8, "stale";
    /// Hidden from MONITOR.
    SKIP_MONITOR = 9, "skip_monitor";
    /// Hidden from SLOWLOG.
    SKIP_SLOWLOG = 10, "skip_slowlog";
    /// Needs ASKING (internal).
    ASKING = 11, "asking";
    /// Constant or logarithmic time.
    FAST = 12, "fast";
    /// Served before AUTH.
    NO_AUTH = 13, "no_auth";
    /// May replicate.
    MAY_REPLICATE = 14, "may_replicate";
    /// Not inside MULTI.
    NO_MULTI = 15, "no_multi";
    /// Keys can't be told from the first/last/step triple alone.
    MOVABLEKEYS = 16, "movablekeys";
    /// Allowed while busy in a script.
    ALLOW_BUSY = 17, "allow_busy";
    /// From a module.
    MODULE = 18, "module";
    /// Not served while a replica loads its primary's data beside the old.
    NO_ASYNC_LOADING = 19, "no_async_loading";
    /// May be called without any key (EVAL with a count of 0).
    NO_MANDATORY_KEYS = 20, "no_mandatory_keys";
    /// Hidden from Valkey's COMMANDLOG.
    SKIP_COMMANDLOG = 21, "skip_commandlog";
}

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);

    /// The flag servers call `word`.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, known)| *known == word).map(|(flag, _)| *flag)
    }

    /// The servers' words for the flags of the set.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        Self::WORDS.iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, word)| *word)
    }

    /// The set of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every flag of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}
