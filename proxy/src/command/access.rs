//! Which commands a list of rules in the servers' ACL notation allows: `+@read -@dangerous +get`.

use thiserror::Error;

use super::spec::{Flags, Spec};
use super::table::Table;

/// Rules, applied from left to right to a user who may do nothing at first, as the servers do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rules(Box<[Rule]>);

/// One of them: what it is about, and whether that is allowed from there on.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Rule {
    allows: bool,
    about: About,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum About {
    /// `@all`, `allcommands`, `nocommands`.
    All,
    /// `@category`.
    Category(Box<str>),
    /// A command with its subcommands, or one subcommand: `config`, `config|get`.
    Command(Box<str>),
}

/// Why a list of rules can't be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RulesError {
    /// Rules for keys, channels, passwords have keys of their own in the settings.
    #[error("{0:?} is no rule for commands, which are +command, -command, +@category, -@category")]
    Form(String),
    /// A misspelled category would allow less, or more, than was meant.
    #[error("{0:?} is no category of the servers")]
    Category(String),
    /// The same of a command. One of a module, which has a point in its name, may not be known here.
    #[error("{0:?} is no command that is known here")]
    Command(String),
}

impl Rules {
    /// Reads rules, which stand apart by spaces.
    ///
    /// # Errors
    /// Where one has another form, or names what `table` doesn't know.
    pub fn parse(text: &str, table: &Table) -> Result<Self, RulesError> {
        text.split_ascii_whitespace().map(|word| Rule::parse(word, table)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether they allow a command. What comes before a login is never forbidden, as in the servers.
    #[must_use]
    pub fn allow(&self, spec: &Spec) -> bool {
        spec.flags.contains(Flags::NO_AUTH)
            || self.0.iter().rev().find(|rule| rule.is_about(spec)).is_some_and(|rule| rule.allows)
    }
}

impl Rule {
    fn parse(word: &str, table: &Table) -> Result<Self, RulesError> {
        let lower = word.to_ascii_lowercase();
        let form = || RulesError::Form(word.to_owned());
        let (allows, name) = match lower.as_str() {
            "allcommands" => (true, "@all"),
            "nocommands" => (false, "@all"),
            other => match other.split_at_checked(1).ok_or_else(form)? {
                ("+", name) => (true, name),
                ("-", name) => (false, name),
                _ => return Err(form()),
            },
        };
        let about = match name.strip_prefix('@') {
            Some("all") => About::All,
            Some(category) if has_category(table, category) => About::Category(category.into()),
            Some(_) => return Err(RulesError::Category(word.to_owned())),
            None if name.is_empty() => return Err(form()),
            None if name.contains('.') || is_known(table, name) => About::Command(name.into()),
            None => return Err(RulesError::Command(word.to_owned())),
        };
        Ok(Self { allows, about })
    }

    fn is_about(&self, spec: &Spec) -> bool {
        match &self.about {
            About::All => true,
            About::Category(name) => spec.facts.categories.contains(name),
            About::Command(name) => {
                *name == spec.name
                    || spec.name.split_once('|').is_some_and(|(container, _)| container == &**name)
            }
        }
    }
}

fn has_category(table: &Table, category: &str) -> bool {
    table.iter().any(|spec| spec.facts.categories.iter().any(|known| &**known == category))
}

fn is_known(table: &Table, name: &str) -> bool {
    table.iter().any(|spec| &*spec.name == name)
}

/// Rules as they are asked on the path of a request.
#[derive(Debug)]
pub struct Access {
    rules: Rules,
    /// By the command's number in the checked-in table. Those with a higher number were learned: their names and
    /// categories are the server's.
    allowed: Box<[bool]>,
}

impl Access {
    /// Rules, looked up for every command of the checked-in table.
    #[must_use]
    pub fn new(rules: Rules, builtin: &Table) -> Self {
        // Numbers begin at 1.
        let mut allowed = vec![false; builtin.iter().len() + 1];
        for spec in builtin.iter() {
            if let Some(place) = place(spec).and_then(|place| allowed.get_mut(place)) {
                *place = rules.allow(spec);
            }
        }
        Self { rules, allowed: allowed.into() }
    }

    /// Whether the command may be said.
    #[must_use]
    pub fn allows(&self, spec: &Spec) -> bool {
        let known = place(spec).and_then(|place| self.allowed.get(place).copied());
        known.unwrap_or_else(|| self.rules.allow(spec))
    }
}

fn place(spec: &Spec) -> Option<usize> {
    spec.number.map(|number| usize::from(number.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(rules: &str, names: &[&str]) -> Vec<bool> {
        let table = Table::builtin();
        let access = Access::new(Rules::parse(rules, &table).expect("rules"), &table);
        let find = |name: &&str| table.iter().find(|spec| &*spec.name == *name).expect("a command");
        names.iter().map(|name| access.allows(find(name))).collect()
    }

    #[test]
    fn the_last_rule_about_a_command_counts() {
        assert_eq!(allowed("+@read -get", &["get", "mget", "set"]), [false, true, false]);
        assert_eq!(allowed("-get +@read", &["get", "mget", "set"]), [true, true, false]);
        assert_eq!(allowed("+@all -@dangerous +keys", &["keys", "flushall", "get"]), [true, false, true]);
        assert_eq!(allowed("allcommands -@all", &["get"]), [false]);
    }

    #[test]
    fn subcommands_follow_their_container_and_may_stand_alone() {
        assert_eq!(allowed("+config|get", &["config|get", "config|set"]), [true, false]);
        assert_eq!(allowed("+config -config|set", &["config|get", "config|set"]), [true, false]);
    }

    #[test]
    fn a_login_is_never_forbidden() {
        assert_eq!(allowed("", &["auth", "hello", "get"]), [true, true, false]);
    }

    #[test]
    fn what_nobody_knows_is_a_mistake() {
        let table = Table::builtin();
        let error = |rules| Rules::parse(rules, &table).expect_err("a mistake");
        assert_eq!(error("-flsuhall"), RulesError::Command("-flsuhall".into()));
        assert_eq!(error("+@reed"), RulesError::Category("+@reed".into()));
        for form in ["get", "~*", "+", ">secret"] {
            assert_eq!(error(form), RulesError::Form(form.into()));
        }
        assert!(Rules::parse("+ft.search +@read", &table).is_ok());
    }
}
