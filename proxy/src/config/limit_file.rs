//! `[tenants.limits]` of the file: every key, and what they become.

use super::entry::{Entry, Key, put};
use super::error::ConfigError;
use super::limits::Limit::{
    BlockedClients, BytesInFlight, BytesInPerSecond, BytesOutPerSecond, Clients, MaxValue, Pending,
    PrivateConnections, ReplyBuffer, RequestsPerSecond,
};
use super::limits::{Action, Bound, Limit, LimitsSettings};

/// The limits of one tenant as written.
#[derive(Default)]
pub(super) struct LimitsFile {
    most: [Option<u64>; Limit::ALL.len()],
    actions: [Option<Action>; Limit::ALL.len()],
}

const KIB: usize = 1 << 10;
const GIB: usize = 1 << 30;
const TIB: usize = 1 << 40;

/// Every key of the limits. Where both make sense there is a key for the action, which is `delay` without it. A client
/// more than `clients` can only be refused, and so can a value: it is too large for ever.
pub(super) const LIMIT_KEYS: &[Key<LimitsFile>] = &[
    row("clients", |file, entry| file.count(Clients, 1, entry)),
    row("blocked_clients", |file, entry| file.count(BlockedClients, 0, entry)),
    row("blocked_clients_action", |file, entry| file.action(BlockedClients, entry)),
    row("private_connections", |file, entry| file.count(PrivateConnections, 0, entry)),
    row("private_connections_action", |file, entry| file.action(PrivateConnections, entry)),
    row("pending", |file, entry| file.count(Pending, 1, entry)),
    row("pending_action", |file, entry| file.action(Pending, entry)),
    row("requests_per_second", |file, entry| {
        put(&mut file.most[RequestsPerSecond.index()], entry.whole(1..=1_000_000_000).map(Some));
    }),
    row("requests_per_second_action", |file, entry| file.action(RequestsPerSecond, entry)),
    row("bytes_in_per_second", |file, entry| file.size(BytesInPerSecond, (KIB, TIB), entry)),
    row("bytes_in_per_second_action", |file, entry| file.action(BytesInPerSecond, entry)),
    row("bytes_out_per_second", |file, entry| file.size(BytesOutPerSecond, (KIB, TIB), entry)),
    row("bytes_out_per_second_action", |file, entry| file.action(BytesOutPerSecond, entry)),
    row("bytes_in_flight", |file, entry| file.size(BytesInFlight, (64 * KIB, TIB), entry)),
    row("bytes_in_flight_action", |file, entry| file.action(BytesInFlight, entry)),
    row("reply_buffer", |file, entry| file.size(ReplyBuffer, (4 * KIB, 4 * GIB), entry)),
    row("reply_buffer_action", |file, entry| file.action(ReplyBuffer, entry)),
    row("max_value", |file, entry| file.size(MaxValue, (KIB, GIB), entry)),
];

const fn row(path: &'static str, set: fn(&mut LimitsFile, &mut Entry<'_>)) -> Key<LimitsFile> {
    Key { path, set }
}

impl LimitsFile {
    fn count(&mut self, limit: Limit, least: u64, entry: &mut Entry<'_>) {
        put(&mut self.most[limit.index()], entry.whole(least..=10_000_000).map(Some));
    }

    fn size(&mut self, limit: Limit, (least, most): (usize, usize), entry: &mut Entry<'_>) {
        put(&mut self.most[limit.index()], entry.size(least..=most).map(|size| Some(size as u64)));
    }

    fn action(&mut self, limit: Limit, entry: &mut Entry<'_>) {
        let action = entry.parse("\"delay\" or \"refuse\"", |text| match text {
            "delay" => Some(Action::Delay),
            "refuse" => Some(Action::Refuse),
            _ => None,
        });
        put(&mut self.actions[limit.index()], action.map(Some));
    }
}

/// Reads the limits of a tenant.
pub(super) fn read_limits(entry: &mut Entry<'_>) -> LimitsSettings {
    let mut file = LimitsFile::default();
    entry.table(LIMIT_KEYS, &mut file);
    let mut limits = LimitsSettings::default();
    for limit in Limit::ALL {
        match (file.most[limit.index()], file.actions[limit.index()]) {
            (Some(most), action) => limits.set(limit, Bound { most, action: action.unwrap_or_default() }),
            (None, Some(_)) => {
                entry.report(|place, key| ConfigError::NoLimit { place, key, limit: limit.name() });
            }
            (None, None) => {}
        }
    }
    limits
}
