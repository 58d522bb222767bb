//! A tenant's limits, and what it uses of them in the whole process.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::rate::{Bucket, Rate};
use crate::config::limits::{Action, Bound, Limit, LimitsSettings};

/// The limits that a tenant has now.
#[derive(Debug)]
pub struct Limits {
    settings: LimitsSettings,
    /// Outlives them: new settings go on with what is used.
    usage: Arc<Usage>,
}

/// What a tenant uses, over all workers.
#[derive(Default, Debug)]
pub struct Usage {
    /// How often each limit acted.
    acted: Acted,
    requests: Line<Bucket>,
    bytes_in: Line<Bucket>,
    bytes_out: Line<Bucket>,
    now: Line<[AtomicI64; Used::COUNT]>,
}

#[derive(Default, Debug)]
struct Acted([AtomicU64; Limit::ALL.len()]);

/// Cache lines of its own: what workers write must not slow what others read.
#[derive(Default, Debug)]
#[repr(align(128))]
struct Line<T>(T);

/// What is counted up and down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Used {
    /// Clients connected.
    Clients,
    /// Clients in a blocking command.
    Blocked,
    /// Private connections in use, and those being opened.
    Private,
    /// Request bytes that were read and not handled.
    Unread,
    /// Bytes of requests that are not answered and of replies that are not written.
    Open,
}

impl Used {
    const COUNT: usize = 5;
}

/// A number of a tenant, for `/metrics`.
#[derive(Clone, Copy, Debug)]
pub struct Gauge {
    /// Without `slotway_tenant_`.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Where it is counted.
    pub value: fn(&Usage) -> u64,
}

/// Every number of a tenant that goes up and down.
pub const GAUGES: &[Gauge] = &[
    Gauge {
        name: "clients",
        help: "Clients of the tenant connected now.",
        value: |usage| usage.used(Used::Clients),
    },
    Gauge {
        name: "blocked_clients",
        help: "Clients of the tenant in a blocking command now.",
        value: |usage| usage.used(Used::Blocked),
    },
    Gauge {
        name: "private_connections",
        help: "Private connections that clients of the tenant use now.",
        value: |usage| usage.used(Used::Private),
    },
    Gauge {
        name: "bytes_in_flight",
        help: "Bytes of the tenant's requests that are not answered and of replies that are not written.",
        value: |usage| usage.used(Used::Unread) + usage.used(Used::Open),
    },
];

impl Limits {
    /// These limits, of a tenant that uses so much.
    #[must_use]
    pub fn new(settings: LimitsSettings, usage: Arc<Usage>) -> Self {
        Self { settings, usage }
    }

    /// What the tenant uses.
    #[must_use]
    pub fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    /// The limit, where it is set.
    #[must_use]
    pub fn bound(&self, limit: Limit) -> Option<Bound> {
        self.settings.bound(limit)
    }

    /// What happens at a limit.
    #[must_use]
    pub fn action(&self, limit: Limit) -> Action {
        self.bound(limit).map(|bound| bound.action).unwrap_or_default()
    }

    /// How much of a limit is left for all, at `now` in milliseconds; what is not limited never ends.
    #[must_use]
    pub fn left(&self, limit: Limit, now: u64) -> u64 {
        let Some(Bound { most, .. }) = self.bound(limit) else { return u64::MAX };
        if let Some(bucket) = self.usage.bucket(limit) {
            return bucket.available(Rate::new(most), now);
        }
        let used = match limit {
            Limit::Clients => self.usage.used(Used::Clients),
            Limit::BlockedClients => self.usage.used(Used::Blocked),
            Limit::PrivateConnections => self.usage.used(Used::Private),
            Limit::BytesInFlight => self.usage.used(Used::Unread) + self.usage.used(Used::Open),
            _ => 0,
        };
        most.saturating_sub(used)
    }

    /// Counts one more of something, where its limit lets it.
    #[must_use]
    pub fn admit(&self, limit: Limit, used: Used) -> bool {
        let most = self.bound(limit).map_or(i64::MAX, |bound| bound.most as i64);
        let more = |count: i64| (count < most).then_some(count + 1);
        let count = &self.usage.now.0[used as usize];
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

impl Usage {
    /// The bucket of a rate.
    #[must_use]
    pub fn bucket(&self, limit: Limit) -> Option<&Bucket> {
        match limit {
            Limit::RequestsPerSecond => Some(&self.requests.0),
            Limit::BytesInPerSecond => Some(&self.bytes_in.0),
            Limit::BytesOutPerSecond => Some(&self.bytes_out.0),
            _ => None,
        }
    }

    /// How much there is now. Workers tell of bytes a little late, so one may have told of a reply's end before
    /// another told of its beginning.
    #[must_use]
    pub fn used(&self, used: Used) -> u64 {
        self.now.0[used as usize].load(Ordering::Relaxed).max(0) as u64
    }

    /// It is so much more, or less.
    pub fn add(&self, used: Used, difference: i64) {
        self.now.0[used as usize].fetch_add(difference, Ordering::Relaxed);
    }

    /// A limit held something up, or refused it.
    pub fn note_acted(&self, limit: Limit) {
        self.acted.0[limit.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was.
    #[must_use]
    pub fn acted(&self, limit: Limit) -> u64 {
        self.acted.0[limit.index()].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(bounds: &[(Limit, u64)]) -> Limits {
        let mut settings = LimitsSettings::default();
        for (limit, most) in bounds {
            settings.set(*limit, Bound { most: *most, action: Action::Delay });
        }
        Limits::new(settings, Arc::default())
    }

    #[test]
    fn no_more_are_admitted_than_there_may_be() {
        let limits = limits(&[(Limit::Clients, 2)]);
        let admit = || limits.admit(Limit::Clients, Used::Clients);
        assert_eq!((admit(), admit(), admit()), (true, true, false));
        assert_eq!(limits.left(Limit::Clients, 0), 0);
        limits.usage().add(Used::Clients, -1);
        assert_eq!((admit(), admit()), (true, false));
        assert!(limits.admit(Limit::BlockedClients, Used::Blocked), "not limited, but counted");
        assert_eq!(limits.usage().used(Used::Blocked), 1);
    }

    #[test]
    fn new_settings_go_on_with_what_is_used() {
        let old = limits(&[(Limit::BytesInFlight, 100)]);
        old.usage().add(Used::Open, 60);
        old.usage().add(Used::Unread, 30);
        assert_eq!(old.left(Limit::BytesInFlight, 0), 10);
        let mut settings = LimitsSettings::default();
        settings.set(Limit::BytesInFlight, Bound { most: 80, action: Action::Refuse });
        let new = Limits::new(settings, old.usage().clone());
        assert_eq!(new.left(Limit::BytesInFlight, 0), 0);
        assert_eq!(new.left(Limit::Clients, 0), u64::MAX);
    }
}
