//! The table: ratios of each round, their median and range.

use std::fmt::Write;

use serde::Serialize;

use crate::options::Options;
use crate::round::Round;

/// A contender's rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) rounds: Vec<Round>,
}

impl Measured {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, rounds: Vec::new() }
    }
}

/// A's p99 may grow by this.
const MOST_GROWTH: f64 = 2.0;
/// B has to keep so much of its throughput.
const LEAST_KEPT: f64 = 0.7;

/// A figure of a round.
type Figure = fn(&Round) -> f64;

const COLUMNS: [(&str, Figure); 6] = [
    ("A p99 us", |round| round.quiet.p99),
    ("beside B", |round| round.quiet_beside.p99),
    ("B req/s", |round| round.noisy.rate()),
    ("beside A", |round| round.noisy_beside.rate()),
    ("busy %", |round| round.busy.0 * 100.0),
    ("A req/s", |round| round.quiet_beside.rate()),
];

/// The table, for the terminal.
pub(crate) fn text(options: &Options, measured: &[Measured]) -> String {
    let mut text = format!(
        "B: {} clients, pipeline {}, {} bytes, {} % GET; A: {} clients, pipeline 1, 64 bytes, a pause of {} us; {} rounds of {} s\n\n",
        options.noisy_clients,
        options.pipeline,
        options.value,
        options.gets,
        options.quiet_clients,
        options.pause,
        options.rounds,
        options.seconds,
    );
    // Writing to a String can't fail.
    let _ = write!(text, "{:12}", "");
    for (title, _) in COLUMNS {
        let _ = write!(text, "{title:>10}");
    }
    let _ = writeln!(text, "{:>24}{:>24}", "p99 ratio (range)", "B keeps (range)");
    for one in measured {
        let _ = write!(text, "{:12}", one.name);
        for (_, figure) in COLUMNS {
            let _ = write!(text, "{:>10.0}", spread(&one.rounds, figure).1);
        }
        for figure in [growth, kept] {
            let (least, middle, most) = spread(&one.rounds, figure);
            let _ = write!(text, "{:>24}", format!("{middle:.2} ({least:.2}-{most:.2})"));
        }
        let _ = writeln!(text);
    }
    for one in measured {
        let past: Vec<_> = one.rounds.iter().filter_map(|round| round.past).collect();
        if past.is_empty() {
            continue;
        }
        let alone = spread(&past, |(alone, _)| alone.p99).1;
        let beside = spread(&past, |(_, beside)| beside.p99).1;
        let (least, middle, most) = spread(&past, |(alone, beside)| beside.p99 / alone.p99);
        let _ = writeln!(
            text,
            "\nA past {}, to the servers: p99 {alone:.0} us, {beside:.0} us while B goes through it: {middle:.2} \
             ({least:.2}-{most:.2}): what it waits for elsewhere than in the proxy",
            one.name
        );
    }
    if let Some(slotway) = measured.iter().find(|one| one.name == "slotway") {
        let (growth, kept) = (spread(&slotway.rounds, growth).1, spread(&slotway.rounds, kept).1);
        let word = if growth <= MOST_GROWTH && kept >= LEAST_KEPT { "reached" } else { "missed" };
        let _ =
            writeln!(text, "\ngoal: p99 ratio <= {MOST_GROWTH:.1} while B keeps >= {LEAST_KEPT:.2}: {word}");
    }
    text
}

fn growth(round: &Round) -> f64 {
    round.quiet_beside.p99 / round.quiet.p99
}

fn kept(round: &Round) -> f64 {
    round.noisy_beside.rate() / round.noisy.rate()
}

/// The least, the middle and the most.
fn spread<T>(rounds: &[T], figure: impl Fn(&T) -> f64) -> (f64, f64, f64) {
    let mut values: Vec<_> = rounds.iter().map(figure).collect();
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (at(0), at(values.len() / 2), at(values.len().saturating_sub(1)))
}
