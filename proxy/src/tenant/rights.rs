//! The rights of a tenant's own user at the backends, as the lines that an operator applies there. They keep whatever a
//! script says within the tenant's keys and channels.
//!
//! Lines are the same for all servers from Redis 7.0 on, Valkey included: a name that one of them doesn't know would make
//! it refuse the whole line. So they go by the categories of built-in types, which commands of modules are not in, and
//! name what has been there since 7.0 only.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::namespace::Namespace;
use crate::command::access::Rules;
use crate::command::spec::{Local, Spec, Treatment};
use crate::command::table::Table;
use crate::config::tenants::{BackendUser, TenantSettings};

/// What a tenant's backend user may do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rights {
    /// Patterns of keys, each with its `~`.
    pub keys: Vec<String>,
    /// Patterns of channels, each with its `&`.
    pub channels: Vec<String>,
    /// Rules for commands, which begin with `-@all`.
    pub commands: Vec<String>,
}

/// Commands on keys, each of which the servers compare with the patterns. Not what no pattern restricts: it speaks of
/// all keys, or of other databases. MULTI to UNWATCH have no keys themselves or are compared as others are.
const DATA: &str = "+@string +@hash +@list +@set +@sortedset +@stream +@bitmap +@hyperloglog +@geo +@keyspace \
                    +@transaction -@admin -@dangerous -scan -randomkey -dbsize -move +sort +sort_ro +memory|usage";

/// Scripts, whose calls are checked one by one. Functions are run, not loaded: they are everybody's.
const SCRIPTS: &str =
    "+eval +eval_ro +evalsha +evalsha_ro +fcall +fcall_ro +script|load +script|exists +publish +spublish";

/// What the proxy says for itself over such connections, and what clients say inside MULTI.
const OWN: &str = "+asking +ping +echo +time +client|tracking";

/// Rights over all keys: what acts on a node or on the cluster is not a tenant's even so.
const EVERYTHING: &str = "+@all -@admin -@dangerous";

impl Rights {
    /// The rights of this tenant.
    #[must_use]
    pub fn of(tenant: &TenantSettings, table: &Table) -> Self {
        let (keys, channels, base) = match tenant.namespace.map(Namespace::new) {
            None => (vec!["~*".to_owned()], vec!["&*".to_owned()], everything(table)),
            Some(namespace) => {
                let stem = namespace.stem();
                let stem = String::from_utf8_lossy(stem.as_bytes());
                let mut keys = vec![format!("~{stem}:*")];
                if namespace.databases() > 1 {
                    keys.push(format!("~{stem}.*"));
                }
                (keys, vec![format!("&{stem}:*")], format!("{DATA} {SCRIPTS} {OWN}"))
            }
        };
        let base: Vec<String> = base.split_ascii_whitespace().map(str::to_owned).collect();
        let base = match &tenant.commands {
            None => base,
            Some(own) => by_name(&base, own, table),
        };
        let commands = std::iter::once("-@all".to_owned()).chain(base).collect();
        Self { keys, channels, commands }
    }

    /// The line that makes a user of them. Passwords that the user has beside this one stay, so that it can be changed
    /// without a moment in which neither holds.
    #[must_use]
    pub fn line(&self, user: &BackendUser) -> String {
        let hash =
            Sha256::digest(user.login.password.reveal()).iter().fold(String::new(), |mut hash, byte| {
                let _ = write!(hash, "{byte:02x}");
                hash
            });
        let (keys, channels, commands) =
            (self.keys.join(" "), self.channels.join(" "), self.commands.join(" "));
        let user = &user.login.user;
        format!(
            "ACL SETUSER {user} on #{hash} clearselectors resetkeys {keys} resetchannels {channels} {commands}"
        )
    }

    /// Their rules for commands.
    #[must_use]
    pub fn rules(&self, table: &Table) -> Rules {
        rules(&self.commands, table)
    }
}

/// The rules that these words are. They are of our own making: a word that is no rule grants nothing.
fn rules(words: &[String], table: &Table) -> Rules {
    let known: Vec<_> = words.iter().filter(|word| Rules::parse(word, table).is_ok()).cloned().collect();
    Rules::parse(&known.join(" "), table).unwrap_or_default()
}

/// All that the proxy sends for clients, of what is dangerous too.
fn everything(table: &Table) -> String {
    let is_sent = |spec: &Spec| {
        let is_local = matches!(spec.treatment, Treatment::Local(which) if which != Local::Info);
        let is_refused = matches!(spec.treatment, Treatment::Refused(_) | Treatment::Monitor);
        !is_local && !is_refused
    };
    let dangerous = |spec: &&Spec| {
        spec.facts.categories.iter().any(|category| matches!(&**category, "dangerous" | "admin"))
    };
    table.iter().filter(|spec| is_old(spec) && is_sent(spec)).filter(dangerous).fold(
        EVERYTHING.to_owned(),
        |mut rules, spec| {
            let _ = write!(rules, " +{}", spec.name);
            rules
        },
    )
}

/// What both rules allow, by name: no categories say that. Commands newer than 7.0 can't be named for all servers.
fn by_name(base: &[String], own: &Rules, table: &Table) -> Vec<String> {
    let base = rules(base, table);
    let is_container =
        |name: &str| table.iter().any(|spec| spec.name.split_once('|').is_some_and(|(of, _)| of == name));
    let both = table.iter().filter(|spec| base.allow(spec) && own.allow(spec));
    let both = both.filter(|spec| is_old(spec) && !is_container(&spec.name));
    let mut names: Vec<_> = both.map(|spec| format!("+{}", spec.name)).collect();
    // Whatever a tenant may say: a slot that moves is asked for by it.
    names.push("+asking".to_owned());
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether every supported server has it.
fn is_old(spec: &Spec) -> bool {
    let mut parts = spec.facts.since.split('.').map(|part| part.parse::<u16>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) <= (7, 0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Secret;
    use crate::config::tenants::{BackendLogin, Connections, NamespaceId, NamespaceSettings, Placement};

    fn tenant(placement: Option<Placement>, databases: u16, commands: Option<&str>) -> TenantSettings {
        let table = Table::builtin();
        TenantSettings {
            namespace: placement.map(|placement| NamespaceSettings {
                id: NamespaceId::parse("k3m9x2ab").unwrap(),
                placement,
                databases,
            }),
            commands: commands.map(|rules| Rules::parse(rules, &table).unwrap()),
            backend: Some(BackendUser {
                login: BackendLogin { user: "slotway-shop".into(), password: Secret::new("secret".into()) },
                connections: Connections::Shared,
            }),
            ..TenantSettings::new("shop")
        }
    }

    fn rights(placement: Option<Placement>, databases: u16, commands: Option<&str>) -> Rights {
        Rights::of(&tenant(placement, databases, commands), &Table::builtin())
    }

    fn allows(rights: &Rights, name: &str) -> bool {
        let table = Table::builtin();
        rights.rules(&table).allow(table.iter().find(|spec| &*spec.name == name).expect(name))
    }

    #[test]
    fn the_line_has_the_namespaces_patterns_and_a_hash_in_the_passwords_place() {
        let tenant = tenant(Some(Placement::Spread), 4, None);
        let line = Rights::of(&tenant, &Table::builtin()).line(tenant.backend.as_ref().unwrap());
        let begin = "ACL SETUSER slotway-shop on \
                     #2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b clearselectors resetkeys \
                     ~k3m9x2ab:* ~k3m9x2ab.* resetchannels &k3m9x2ab:* -@all +@string ";
        assert!(line.starts_with(begin), "{line}");
        assert_eq!(rights(Some(Placement::Spread), 1, None).keys, ["~k3m9x2ab:*"]);
        let together = rights(Some(Placement::Together), 2, None);
        assert_eq!(together.keys, ["~{k3m9x2ab}:*", "~{k3m9x2ab}.*"]);
        assert_eq!(together.channels, ["&{k3m9x2ab}:*"]);
    }

    #[test]
    fn in_a_namespace_it_may_say_what_patterns_restrict_and_nothing_else() {
        let rights = rights(Some(Placement::Spread), 1, None);
        for name in
            ["get", "xadd", "eval", "fcall", "multi", "watch", "sort", "publish", "blpop", "geoadd", "expire"]
        {
            assert!(allows(&rights, name), "{name}");
        }
        let all_keys = ["keys", "scan", "randomkey", "dbsize", "flushall", "flushdb", "swapdb", "move"];
        let global =
            ["function|load", "function|flush", "script|flush", "script|kill", "config|get", "acl|list"];
        let node =
            ["debug", "migrate", "restore", "client|kill", "client|list", "info", "monitor", "shutdown"];
        for name in
            all_keys.into_iter().chain(global).chain(node).chain(["subscribe", "select", "cluster|slots"])
        {
            assert!(!allows(&rights, name), "{name}");
        }
    }

    #[test]
    fn of_commands_without_keys_it_has_the_reviewed_ones_only() {
        let table = Table::builtin();
        let rules = rights(Some(Placement::Spread), 1, None).rules(&table);
        let mut keyless: Vec<_> = table
            .iter()
            .filter(|spec| rules.allow(spec) && spec.facts.key_specs.is_empty())
            .map(|spec| &*spec.name)
            .collect();
        keyless.sort_unstable();
        let reviewed = [
            "asking",
            "auth",
            "client|tracking",
            "discard",
            "echo",
            "exec",
            "hello",
            "multi",
            "object|help",
            "ping",
            "publish",
            "quit",
            "reset",
            "script|exists",
            "script|load",
            "time",
            "unwatch",
            "xgroup|help",
            "xinfo|help",
        ];
        assert_eq!(keyless, reviewed);
    }

    #[test]
    fn rules_of_the_tenant_narrow_it_by_names_that_all_servers_know() {
        let rights = rights(Some(Placement::Spread), 1, Some("+@all -@write +set -@scripting"));
        assert!(rights.commands[1..].iter().all(|word| word.starts_with('+') && !word.contains('@')));
        for (name, may) in [("get", true), ("set", true), ("del", false), ("eval", false), ("keys", false)] {
            assert_eq!(allows(&rights, name), may, "{name}");
        }
        assert!(rights.commands.contains(&"+asking".to_owned()));
        assert!(!rights.commands.contains(&"+object".to_owned()), "its subcommands stand by themselves");
        assert!(!rights.commands.iter().any(|word| word == "+hpexpire"), "since 9.0");
    }

    #[test]
    fn without_a_namespace_it_has_all_keys_and_acts_on_no_node() {
        let rights = rights(None, 1, None);
        assert_eq!((rights.keys.join(" "), rights.channels.join(" ")), ("~*".to_owned(), "&*".to_owned()));
        for (name, may) in [
            ("get", true),
            ("keys", true),
            ("flushall", true),
            ("info", true),
            ("shutdown", false),
            ("debug", false),
        ] {
            assert_eq!(allows(&rights, name), may, "{name}");
        }
    }
}
