//! How each publisher fares: counted for metrics, kept for whoever looks.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who hands the plan on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Publisher {
    /// A DNS server that takes updates.
    Rfc2136,
    /// A file for gdnsd.
    Gdnsd,
    /// A file for CoreDNS.
    Coredns,
    /// A file for ExternalDNS.
    DnsEndpoint,
}

impl Publisher {
    /// As metrics and logs have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rfc2136 => "rfc2136",
            Self::Gdnsd => "gdnsd",
            Self::Coredns => "coredns",
            Self::DnsEndpoint => "dnsendpoint",
        }
    }
}

/// What became of one publisher's work, over all settings that there were.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// How often it published.
    pub published: u64,
    /// How often it was found that somebody else has published in the meantime.
    pub differed: u64,
    /// How often it failed, by kind.
    pub failures: BTreeMap<&'static str, u64>,
    /// When it last published, or found all as it should be; in milliseconds since 1970, 0 for never.
    pub last_success: u64,
    /// When the plan was made that is in force, in milliseconds since 1970; 0 where none is known to be.
    pub plan_in_force: u64,
    /// What is in force, in words.
    pub in_force: String,
    /// What is wrong, where something is.
    pub trouble: Option<String>,
}

/// Every publisher that has begun. Locked for a moment, never on the path of a request.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<BTreeMap<Publisher, Account>>);

impl Ledger {
    /// What became of each.
    #[must_use]
    pub fn accounts(&self) -> Vec<(Publisher, Account)> {
        self.lock().iter().map(|(publisher, account)| (*publisher, account.clone())).collect()
    }

    /// From here on there are these only.
    pub fn keep(&self, publishers: &[Publisher]) {
        self.lock().retain(|publisher, _| publishers.contains(publisher));
    }

    /// It begins, and has nothing in force yet.
    pub fn on_start(&self, publisher: Publisher) {
        let mut accounts = self.lock();
        let account = accounts.entry(publisher).or_default();
        (account.plan_in_force, account.trouble) = (0, None);
    }

    /// It published what the plan of that time says.
    pub fn on_published(&self, publisher: Publisher, now: u64, plan_at: u64, what: String) {
        let mut accounts = self.lock();
        let account = accounts.entry(publisher).or_default();
        account.published += 1;
        account.in_force = what;
        succeed(account, now, plan_at);
    }

    /// It found that the plan of that time is in force.
    pub fn on_in_force(&self, publisher: Publisher, now: u64, plan_at: u64, what: String) {
        let mut accounts = self.lock();
        let account = accounts.entry(publisher).or_default();
        account.in_force = what;
        succeed(account, now, plan_at);
    }

    /// Somebody else was faster.
    pub fn on_difference(&self, publisher: Publisher) {
        self.lock().entry(publisher).or_default().differed += 1;
    }

    /// It failed. Says whether that is news.
    pub fn on_failure(&self, publisher: Publisher, kind: &'static str, trouble: String) -> bool {
        let mut accounts = self.lock();
        let account = accounts.entry(publisher).or_default();
        *account.failures.entry(kind).or_default() += 1;
        let is_news = account.trouble.as_ref() != Some(&trouble);
        account.trouble = Some(trouble);
        is_news
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Publisher, Account>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn succeed(account: &mut Account, now: u64, plan_at: u64) {
    (account.last_success, account.plan_in_force, account.trouble) = (now, plan_at, None);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_news_until_it_is_over() {
        let ledger = Ledger::default();
        ledger.on_start(Publisher::Gdnsd);
        let fails = || ledger.on_failure(Publisher::Gdnsd, "write", "no space".to_owned());
        assert!(fails() && !fails());
        ledger.on_published(Publisher::Gdnsd, 5, 4, "all".to_owned());
        assert!(fails());
        let accounts = ledger.accounts();
        let [(Publisher::Gdnsd, account)] = &accounts[..] else { panic!("{accounts:?}") };
        assert_eq!((account.published, account.last_success, account.plan_in_force), (1, 5, 4));
        assert_eq!(account.failures, BTreeMap::from([("write", 3)]));
        assert_eq!(account.trouble.as_deref(), Some("no space"));
        ledger.keep(&[Publisher::Coredns]);
        assert!(ledger.accounts().is_empty());
    }
}
