//! What a tenant's user may do by the plan, as questions to a server and what it should answer. Pure.

use std::collections::HashSet;

use crate::command::access::Rules;
use crate::command::spec::{Flags, Spec};
use crate::command::table::Table;
use crate::config::settings::{ClusterSettings, Settings};
use crate::config::tenants::{BackendUser, TenantSettings};
use crate::resp::value::Value;
use crate::tenant::namespace::Namespace;
use crate::tenant::rights::Rights;

/// One tenant that is a user of its own at the backends.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    pub(super) tenant: &'a str,
    pub(super) user: &'a BackendUser,
    pub(super) rights: Rights,
    rules: Rules,
    /// Names that are its own: one of each numbered database that looks different.
    pub(super) inside: Vec<String>,
    /// Names that are not; empty where all are its own.
    pub(super) outside: Vec<String>,
}

/// What the names that are asked about end with: no client is expected to use them.
const NAME: &str = "slotway-check";

impl<'a> Expected<'a> {
    /// Every tenant with a backend user.
    pub(super) fn all(settings: &'a Settings, cluster: &ClusterSettings, table: &Table) -> Vec<Self> {
        let with = |tenant: &'a TenantSettings| Some((tenant, tenant.backend.as_ref()?));
        let tenants = settings.tenants.iter().filter(|tenant| tenant.cluster == cluster.name);
        let expected = tenants.filter_map(with);
        expected.map(|(tenant, user)| Self::new(tenant, user, &settings.tenants, table)).collect()
    }

    fn new(
        tenant: &'a TenantSettings,
        user: &'a BackendUser,
        tenants: &[TenantSettings],
        table: &Table,
    ) -> Self {
        let rights = Rights::of(tenant, table);
        let rules = rights.rules(table);
        let name = |settings, database| {
            format!("{}{NAME}", String::from_utf8_lossy(Namespace::new(settings).prefix(database).as_bytes()))
        };
        let (mut inside, mut outside) = (vec![NAME.to_owned()], Vec::new());
        if let Some(own) = tenant.namespace {
            inside = vec![name(own, 0)];
            if own.databases > 1 {
                inside.push(name(own, own.databases - 1));
            }
            let others =
                tenants.iter().filter_map(|other| other.namespace).filter(|other| other.id != own.id);
            outside = others.map(|other| name(other, 0)).collect();
            outside.push(NAME.to_owned());
        }
        Self { tenant: &tenant.name, user, rights, rules, inside, outside }
    }

    /// Whether the plan gives it this command.
    pub(super) fn gives(&self, spec: &Spec) -> bool {
        self.rules.allow(spec)
    }
}

/// The commands that can be asked about: not containers, whose subcommands stand for them, and not what is before a
/// login, which nobody can be refused.
pub(super) fn askable(commands: &[Spec]) -> Vec<&Spec> {
    let containers: HashSet<&str> =
        commands.iter().filter_map(|spec| Some(spec.name.split_once('|')?.0)).collect();
    let asks = |spec: &&Spec| !containers.contains(&*spec.name) && !spec.flags.contains(Flags::NO_AUTH);
    commands.iter().filter(asks).collect()
}

/// A command with as many arguments as it needs, all of them `name`.
pub(super) fn words<'w>(spec: &'w Spec, name: &'w str) -> Vec<&'w [u8]> {
    let mut words: Vec<&[u8]> = spec.name.split('|').map(str::as_bytes).collect();
    let wanted = usize::from(spec.arity.unsigned_abs());
    words.resize(words.len().max(wanted), name.as_bytes());
    words
}

/// What a server says to ACL DRYRUN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Allowed,
    /// The command may not be said.
    NoCommand,
    /// The key or channel is not its own.
    NoName,
    /// It can't tell: the command has another shape there.
    Unknown,
}

impl Verdict {
    /// Reads an answer. Servers word it differently from version to version.
    pub(super) fn of_dry_run(answer: &Value<'_>) -> Self {
        let Some(text) = answer.text() else { return Self::Unknown };
        let text = String::from_utf8_lossy(text);
        match &*text {
            "OK" => Self::Allowed,
            denied if denied.contains("permissions to run") => Self::NoCommand,
            denied if denied.contains("permissions to access") => Self::NoName,
            _ => Self::Unknown,
        }
    }

    /// Reads the answer to the command itself.
    pub(super) fn of_call(answer: &Value<'_>) -> Self {
        let Value::Error(text) = answer else { return Self::Allowed };
        let text = String::from_utf8_lossy(text);
        match text.strip_prefix("NOPERM ") {
            None => Self::Allowed,
            Some(denied) if denied.contains("permissions to run") => Self::NoCommand,
            Some(_) => Self::NoName,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_words_are_told_apart() {
        let dry_run = |text: &'static str| Verdict::of_dry_run(&Value::Text(text.as_bytes()));
        assert_eq!(dry_run("OK"), Verdict::Allowed);
        for text in [
            "This user has no permissions to run the 'get' command",
            "User shop has no permissions to run the 'get' command",
        ] {
            assert_eq!(dry_run(text), Verdict::NoCommand);
        }
        for text in [
            "This user has no permissions to access the 'k' key",
            "User shop has no permissions to access the 'c' channel",
            "User shop has no permissions to access the 'k' key",
        ] {
            assert_eq!(dry_run(text), Verdict::NoName);
        }
        let error = |text: &'static str| Value::Error(text.as_bytes());
        assert_eq!(Verdict::of_dry_run(&error("ERR Command 'x' not found")), Verdict::Unknown);
        let call = |text: &'static str| Verdict::of_call(&error(text));
        assert_eq!(call("MOVED 1 a:1"), Verdict::Allowed);
        assert_eq!(call("NOPERM User shop has no permissions to run the 'get' command"), Verdict::NoCommand);
        assert_eq!(call("NOPERM No permissions to access a key"), Verdict::NoName);
    }

    #[test]
    fn a_command_is_asked_with_the_arguments_that_it_needs() {
        let table = Table::builtin();
        let words = |name: &str| {
            let spec = table.iter().find(|spec| &*spec.name == name).expect(name);
            words(spec, "k").iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(words("get"), ["get", "k"]);
        assert_eq!(words("config|get"), ["config", "get", "k"]);
        assert_eq!(words("eval"), ["eval", "k", "k"]);
    }
}
