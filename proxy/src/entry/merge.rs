//! What all proxies say of one entry together. Pure.

use super::report::{Health, Report};

/// The sum of what comes through an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum {
    /// Bytes a second in the busier direction.
    pub load: u64,
    /// Connections now.
    pub connections: u64,
    /// What most of those say that have tried.
    pub health: Health,
}

/// Adds up what the reports say of the entry `id`. Numbers that no entry carries do no harm: sums stay at the highest
/// there is.
#[must_use]
pub fn sum(reports: &[Report], id: &str) -> Sum {
    let (mut received, mut sent, mut connections) = (0_u64, 0_u64, 0_u64);
    let (mut up, mut down) = (0, 0);
    for report in reports {
        let Some((_, load)) = report.entries.iter().find(|(entry, _)| entry == id) else { continue };
        received = received.saturating_add(load.received);
        sent = sent.saturating_add(load.sent);
        connections = connections.saturating_add(load.connections);
        match load.health {
            Health::Unknown => {}
            Health::Up => up += 1,
            Health::Down => down += 1,
        }
    }
    let health = match (up, down) {
        (0, 0) => Health::Unknown,
        (up, down) if down > up => Health::Down,
        _ => Health::Up,
    };
    Sum { load: received.max(sent), connections, health }
}
