//! `[tenants.limits]` of the file: every key, and what they become.

use super::error::ConfigError;
use super::item::{Item, Key, put};
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
    row("clients", |file, item| file.count(Clients, 1, item)),
    row("blocked_clients", |file, item| file.count(BlockedClients, 0, item)),
    row("blocked_clients_action", |file, item| file.action(BlockedClients, item)),
    row("private_connections", |file, item| file.count(PrivateConnections, 0, item)),
    row("private_connections_action", |file, item| file.action(PrivateConnections, item)),
    row("pending", |file, item| file.count(Pending, 1, item)),
    row("pending_action", |file, item| file.action(Pending, item)),
    row("requests_per_second", |file, item| {
        put(&mut file.most[RequestsPerSecond.index()], item.whole(1..=1_000_000_000).map(Some));
    }),
    row("requests_per_second_action", |file, item| file.action(RequestsPerSecond, item)),
    row("bytes_in_per_second", |file, item| file.size(BytesInPerSecond, (KIB, TIB), item)),
    row("bytes_in_per_second_action", |file, item| file.action(BytesInPerSecond, item)),
    row("bytes_out_per_second", |file, item| file.size(BytesOutPerSecond, (KIB, TIB), item)),
    row("bytes_out_per_second_action", |file, item| file.action(BytesOutPerSecond, item)),
    row("bytes_in_flight", |file, item| file.size(BytesInFlight, (64 * KIB, TIB), item)),
    row("bytes_in_flight_action", |file, item| file.action(BytesInFlight, item)),
    row("reply_buffer", |file, item| file.size(ReplyBuffer, (4 * KIB, 4 * GIB), item)),
    row("reply_buffer_action", |file, item| file.action(ReplyBuffer, item)),
    row("max_value", |file, item| file.size(MaxValue, (KIB, GIB), item)),
];

const fn row(path: &'static str, set: fn(&mut LimitsFile, &mut Item<'_>)) -> Key<LimitsFile> {
    Key { path, set }
}

impl LimitsFile {
    fn count(&mut self, limit: Limit, least: u64, item: &mut Item<'_>) {
        put(&mut self.most[limit.index()], item.whole(least..=10_000_000).map(Some));
    }

    fn size(&mut self, limit: Limit, (least, most): (usize, usize), item: &mut Item<'_>) {
        put(&mut self.most[limit.index()], item.size(least..=most).map(|size| Some(size as u64)));
    }

    fn action(&mut self, limit: Limit, item: &mut Item<'_>) {
        let action = item.parse("\"delay\" or \"refuse\"", |text| match text {
            "delay" => Some(Action::Delay),
            "refuse" => Some(Action::Refuse),
            _ => None,
        });
        put(&mut self.actions[limit.index()], action.map(Some));
    }
}

/// Reads the limits of a tenant.
pub(super) fn read_limits(item: &mut Item<'_>) -> LimitsSettings {
    let mut file = LimitsFile::default();
    item.table(LIMIT_KEYS, &mut file);
    let mut limits = LimitsSettings::default();
    for limit in Limit::ALL {
        match (file.most[limit.index()], file.actions[limit.index()]) {
            (Some(most), action) => limits.set(limit, Bound { most, action: action.unwrap_or_default() }),
            (None, Some(_)) => {
                item.report(|place, key| ConfigError::NoLimit { place, key, limit: limit.name() });
            }
            (None, None) => {}
        }
    }
    limits
}
