//! What those are told who ask about one entry: DNS servers over HTTP, HAProxy by its agent-check. Pure.

use std::net::IpAddr;

use crate::config::fleet::FleetSettings;
use crate::entry::plan::{Basis, MAX_WEIGHT, Plan, Planned};
use crate::entry::report::Health;

/// Which entry a request is about: one that it names, else one whose address or name it came to, if any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints<'a> {
    /// What it says itself.
    pub id: Option<&'a str>,
    /// The host that it asks, with or without a port.
    pub host: Option<&'a str>,
    /// Our address that it came to.
    pub own: Option<IpAddr>,
}

/// Whether an entry is to get new clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Yes, with this weight; 0 where it has enough to do.
    Up(u32),
    /// It is to be left.
    Drain,
    /// It does not work.
    Down,
}

/// The id of the entry that is asked about; `None` where none of the fleet is.
#[must_use]
pub fn entry<'a>(fleet: &'a FleetSettings, hints: Hints<'_>) -> Option<&'a str> {
    if let Some(id) = hints.id {
        return fleet.entries.iter().map(|entry| entry.id.as_str()).find(|own| *own == id);
    }
    let host = hints.host.map(without_port);
    let address = host.and_then(|host| host.parse::<IpAddr>().ok());
    let has = |address: Option<IpAddr>| {
        let address = address.map(|address| address.to_canonical());
        fleet.entries.iter().find(|entry| address.is_some_and(|address| entry.addresses.contains(&address)))
    };
    let named = fleet.entries.iter().find(|entry| {
        let name = entry.host.as_deref().zip(host);
        name.is_some_and(|(name, host)| name.eq_ignore_ascii_case(host.trim_end_matches('.')))
    });
    named.or_else(|| has(address)).or_else(|| has(hints.own)).map(|entry| entry.id.as_str())
}

/// Without the brackets of an IPv6 address either.
fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|digit| digit.is_ascii_digit()) && !name.contains(':') => name,
        _ => host,
    }
}

/// How an entry stands. One of which nothing is known yet is up like all others: a name that resolves to nothing is
/// worse than one that resolves to a dead entry.
#[must_use]
pub fn standing(plan: &Plan, id: &str) -> Standing {
    match plan.entries.iter().find(|planned| planned.id == id) {
        None => Standing::Up(MAX_WEIGHT),
        Some(Planned { drain: true, .. }) => Standing::Drain,
        Some(Planned { health: Health::Down, .. }) if plan.basis != Basis::FailOpen => Standing::Down,
        Some(planned) => Standing::Up(planned.weight),
    }
}

impl Standing {
    /// Its weight, as DNS servers ask for it.
    #[must_use]
    pub fn weight(self) -> u32 {
        match self {
            Self::Up(weight) => weight,
            Self::Drain | Self::Down => 0,
        }
    }

    /// Whether it works and is not to be left.
    #[must_use]
    pub fn is_well(self) -> bool {
        matches!(self, Self::Up(_))
    }

    /// The line of an agent-check. `ready` takes back an earlier `drain`, which HAProxy else keeps.
    #[must_use]
    pub fn line(self) -> String {
        match self {
            Self::Up(weight) => {
                let percent = (u64::from(weight) * 100).div_ceil(u64::from(MAX_WEIGHT)).min(100);
                format!("ready up {percent}%\n")
            }
            Self::Drain => "drain\n".to_owned(),
            Self::Down => "down\n".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::publish::wanted::tests::{fleet, plan};

    #[test]
    fn an_entry_is_found_by_what_a_request_says_or_where_it_came() {
        let mut fleet = fleet(&[&["192.0.2.1"], &["192.0.2.2", "2001:db8::2"]]);
        fleet.entries[1].host = Some("b.example.com".to_owned());
        let by_host = |host| entry(&fleet, Hints { host: Some(host), ..Hints::default() });
        assert_eq!(by_host("B.example.com:9090"), Some("b"));
        assert_eq!(by_host("b.example.com."), Some("b"));
        assert_eq!(by_host("192.0.2.1:80"), Some("a"));
        assert_eq!(by_host("[2001:db8::2]:80"), Some("b"));
        assert_eq!(by_host("2001:db8::2"), Some("b"));
        assert_eq!(by_host("redis.example.com"), None);
        let own = Some("::ffff:192.0.2.1".parse().unwrap());
        assert_eq!(entry(&fleet, Hints { own, host: Some("redis.example.com"), id: None }), Some("a"));
        assert_eq!(entry(&fleet, Hints { own, host: None, id: Some("b") }), Some("b"), "its own words count");
        assert_eq!(entry(&fleet, Hints { own, host: None, id: Some("z") }), None);
        assert_eq!(entry(&fleet, Hints::default()), None);
    }

    #[test]
    fn an_agent_check_is_told_a_percentage_or_a_word() {
        let mut plan = plan(&[1_000, 744, 0, 1, 500]);
        plan.entries[4].drain = true;
        let line = |plan: &Plan, id: &str| standing(plan, id).line();
        assert_eq!(line(&plan, "a"), "ready up 100%\n");
        assert_eq!(line(&plan, "b"), "ready up 75%\n");
        assert_eq!(line(&plan, "c"), "ready up 0%\n");
        assert_eq!(line(&plan, "d"), "ready up 1%\n");
        assert_eq!(line(&plan, "e"), "drain\n");
        assert_eq!(line(&plan, "new"), "ready up 100%\n");
        plan.entries[0].health = Health::Down;
        assert_eq!(line(&plan, "a"), "down\n");
        assert!(!standing(&plan, "a").is_well());
        plan.basis = Basis::FailOpen;
        assert_eq!(standing(&plan, "a"), Standing::Up(1_000), "too much is down to believe it");
    }
}
