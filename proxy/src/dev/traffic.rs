//! ◆ The live line: how many clients there are and how many commands a second they send.
#![expect(clippy::disallowed_methods, reason = "I/O: watches the clock between two samples")]

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use slotway::metrics::Metrics;

/// The proxy's counters at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct TrafficSample {
    /// Clients connected now.
    pub(super) clients: u64,
    /// Commands answered since the start.
    pub(super) commands: u64,
}

impl TrafficSample {
    /// The proxy's counters now.
    pub(super) fn of(metrics: &Metrics) -> Self {
        Self { clients: metrics.sum(|m| &m.clients), commands: metrics.sum(|m| &m.commands) }
    }
}

/// Prints samples: over and over in the same line of a terminal, else a line for each one that differs.
pub(super) struct Ticker {
    last: TrafficSample,
    at: Instant,
    terminal: bool,
    shown: bool,
}

impl Ticker {
    /// Starts from `first`.
    pub(super) fn new(first: TrafficSample) -> Self {
        Self { last: first, at: Instant::now(), terminal: io::stdout().is_terminal(), shown: false }
    }

    /// Shows what changed since the last sample.
    pub(super) fn show(&mut self, sample: TrafficSample) {
        let now = Instant::now();
        let line = line(self.last, sample, now.duration_since(self.at));
        let mut stdout = io::stdout();
        // Nobody sees what cannot be written.
        if self.terminal {
            let _ = write!(stdout, "\r\x1b[2K{line}").and_then(|()| stdout.flush());
        } else if sample != self.last {
            let _ = writeln!(stdout, "{line}");
        }
        (self.last, self.at, self.shown) = (sample, now, true);
    }

    /// Leaves the live line behind.
    pub(super) fn finish(&self) {
        if self.terminal && self.shown {
            let _ = writeln!(io::stdout());
        }
    }
}

fn line(before: TrafficSample, after: TrafficSample, elapsed: Duration) -> String {
    let commands = after.commands.saturating_sub(before.commands) as f64;
    let rate = if elapsed.is_zero() { 0.0 } else { (commands / elapsed.as_secs_f64()).round() };
    format!(
        "{} clients   {} commands/s   {} in all",
        grouped(after.clients),
        grouped(rate as u64),
        grouped(after.commands)
    )
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_clients_rate_and_total() {
        let before = TrafficSample { clients: 1, commands: 1_000 };
        let after = TrafficSample { clients: 12, commands: 1_234_567 };
        let line = line(before, after, Duration::from_secs(2));
        assert_eq!(line, "12 clients   616,784 commands/s   1,234,567 in all");
    }

    #[test]
    fn no_time_and_counters_that_fall_are_no_trouble() {
        let before = TrafficSample { clients: 0, commands: 5 };
        assert_eq!(
            line(before, TrafficSample::default(), Duration::ZERO),
            "0 clients   0 commands/s   0 in all"
        );
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1_000, 10_000_000].map(grouped), ["0", "999", "1,000", "10,000,000"]);
    }
}
