//! The report: aligned tables for people, JSON for everything else.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::case::{Case, GOALS, Goal, Kind, Measure};
use crate::run::Rounds;
use crate::sample::{Sample, median};

/// What Slotway is called among the contenders.
const OURS: &str = "slotway";

/// A case with what its contenders gave.
pub(crate) struct Measured {
    /// The case.
    pub(crate) case: Case,
    /// Contender by contender.
    pub(crate) rounds: Vec<Rounds>,
}

/// A goal with the value reached, `None` where Slotway or the peer was not measured.
struct Verdict {
    goal: &'static Goal,
    value: Option<f64>,
}

/// The report for people.
pub(crate) fn text(measured: &[Measured]) -> String {
    let mut out = String::new();
    for one in measured {
        case_table(one, &mut out);
    }
    goal_table(&verdicts(measured), &mut out);
    out
}

/// The report for programs.
pub(crate) fn json(measured: &[Measured], setting: Value) -> Value {
    let cases: Vec<Value> = measured.iter().map(case_json).collect();
    let goals: Vec<Value> = verdicts(measured)
        .iter()
        .map(|Verdict { goal, value }| {
            json!({
                "case": goal.case, "measure": goal.measure.name(), "peer": goal.peer, "limit": goal.limit,
                "value": value, "pass": value.map(|value| value <= goal.limit),
            })
        })
        .collect();
    json!({ "setting": setting, "cases": cases, "goals": goals })
}

fn case_json(measured: &Measured) -> Value {
    let targets: Vec<Value> = measured
        .rounds
        .iter()
        .map(|rounds| {
            json!({
                "name": rounds.name,
                "median": Sample::median_of(&rounds.samples), "rounds": rounds.samples,
                "redis_benchmark": (!rounds.second.is_empty()).then(|| Sample::median_of(&rounds.second)),
                "redis_benchmark_rounds": rounds.second, "absent": rounds.absent,
            })
        })
        .collect();
    json!({ "name": measured.case.name, "title": measured.case.title, "targets": targets })
}

fn case_table(measured: &Measured, out: &mut String) {
    let case = &measured.case;
    if case.kind == Kind::Idle {
        idle_table(measured, out);
        return;
    }
    let heading = format!("{} ({})", case.title, case.name);
    let present = measured.rounds.iter().filter(|one| one.absent.is_none());
    load_table(&heading, present.map(|one| (one.name.as_str(), &one.samples)), out);
    for one in &measured.rounds {
        if let Some(reason) = &one.absent {
            let _ = writeln!(out, "  {:<16}{:>11}  {reason}", one.name, "-");
        }
    }
    if measured.rounds.iter().any(|one| !one.second.is_empty()) {
        let heading = format!("{heading}, GET by redis-benchmark");
        load_table(&heading, measured.rounds.iter().map(|one| (one.name.as_str(), &one.second)), out);
    }
}

/// A column of a load table: heading, width, digits behind the point, and its figure of a contender's rounds.
type Column = (&'static str, usize, usize, fn(&[Sample]) -> Option<f64>);

const COLUMNS: [Column; 10] = [
    ("requests/s", 11, 0, |rounds| Sample::median_of(rounds).per_second),
    ("p50 us", 8, 0, |rounds| Sample::median_of(rounds).p50_us),
    ("p99 us", 8, 0, |rounds| Sample::median_of(rounds).p99_us),
    ("proxy CPU", 11, 2, |rounds| Sample::median_of(rounds).proxy_cpu),
    ("user", 7, 2, |rounds| Sample::median_of(rounds).proxy_user),
    ("system", 8, 2, |rounds| Sample::median_of(rounds).proxy_system),
    ("+-%", 6, 1, spread),
    ("backends", 10, 2, |rounds| Sample::median_of(rounds).backend_cpu),
    ("generator", 11, 2, |rounds| Sample::median_of(rounds).generator_cpu),
    ("others%", 9, 0, |rounds| Sample::median_of(rounds).others_percent),
];

fn load_table<'a>(
    heading: &str,
    rows: impl Iterator<Item = (&'a str, &'a Vec<Sample>)> + Clone,
    out: &mut String,
) {
    let ours = rows.clone().find(|(name, _)| *name == OURS).map(|(_, samples)| samples);
    let headings: String = COLUMNS.iter().map(|(name, width, ..)| format!("{name:>width$}")).collect();
    // Writing to a String can't fail.
    let _ = writeln!(out, "\n{heading}\n  {:<16}{headings}{:>14}", "", "slotway/this");
    for (name, samples) in rows.filter(|(_, samples)| !samples.is_empty()) {
        let cell =
            |(_, width, digits, figure): &Column| format!("{:>width$}", show(figure(samples), *digits));
        let cells: String = COLUMNS.iter().map(cell).collect();
        let ratio = ours.and_then(|ours| ratio(ours, samples, Measure::ProxyCpu));
        let _ = writeln!(out, "  {name:<16}{cells}{:>14}", show(ratio, 3));
    }
}

fn idle_table(measured: &Measured, out: &mut String) {
    let _ = writeln!(out, "\n{} ({}): private dirty bytes a client", measured.case.title, measured.case.name);
    let _ = writeln!(out, "  {:<16}{:>10}{:>10}", "", "proxy", "backends");
    for one in &measured.rounds {
        let m = Sample::median_of(&one.samples);
        let (proxy, backends) = (show(m.idle_bytes, 0), show(m.backend_idle_bytes, 0));
        let _ = writeln!(out, "  {:<16}{proxy:>10}{backends:>10}", one.name);
    }
}

fn goal_table(verdicts: &[Verdict], out: &mut String) {
    let _ = writeln!(out, "\nGoals: Slotway over the peer, median of the rounds' ratios");
    let _ = writeln!(out, "  {:<10}{:<14}{:<14}{:>8}{:>9}", "case", "figure", "peer", "goal", "reached");
    for Verdict { goal, value } in verdicts {
        let mark = value.map_or("not measured", |value| if value <= goal.limit { "pass" } else { "FAIL" });
        let digits = if goal.peer.is_some() { 3 } else { 0 };
        let _ = writeln!(
            out,
            "  {:<10}{:<14}{:<14}{:>8}{:>9}  {mark}",
            goal.case,
            goal.measure.name(),
            goal.peer.unwrap_or("-"),
            show(Some(goal.limit), digits.min(2)),
            show(*value, digits),
        );
    }
}

fn verdicts(measured: &[Measured]) -> Vec<Verdict> {
    let verdict = |goal: &'static Goal| {
        let case = measured.iter().find(|one| one.case.name == goal.case)?;
        let samples =
            |name| case.rounds.iter().find(|one| one.name == name).map(|one| one.samples.as_slice());
        let value = match goal.peer {
            Some(peer) => samples(OURS).zip(samples(peer)).and_then(|(a, b)| ratio(a, b, goal.measure)),
            None => samples(OURS).and_then(|ours| Sample::median_of(ours).measure(goal.measure)),
        };
        Some(Verdict { goal, value })
    };
    GOALS.iter().filter_map(verdict).collect()
}

/// The median of the rounds' ratios: what drifts from round to round drifts for both.
fn ratio(ours: &[Sample], theirs: &[Sample], measure: Measure) -> Option<f64> {
    let pairs = ours.iter().zip(theirs);
    let ratios = pairs.filter_map(|(a, b)| Some(a.measure(measure)? / b.measure(measure)?));
    median(ratios.filter(|ratio| ratio.is_finite()).collect())
}

/// Half the distance between the largest and the smallest proxy CPU of the rounds, in percent of the median.
fn spread(samples: &[Sample]) -> Option<f64> {
    let values: Vec<f64> = samples.iter().filter_map(|sample| sample.proxy_cpu).collect();
    let largest = values.iter().copied().reduce(f64::max)?;
    let smallest = values.iter().copied().reduce(f64::min)?;
    median(values).map(|middle| (largest - smallest) / 2.0 / middle * 100.0)
}

fn show(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::CASES;

    fn rounds(name: &str, cpus: &[f64]) -> Rounds {
        let samples = cpus.iter().map(|&cpu| Sample { proxy_cpu: Some(cpu), ..Sample::default() }).collect();
        Rounds { name: name.to_owned(), samples, ..Rounds::default() }
    }

    #[test]
    fn a_goal_passes_by_the_median_of_paired_ratios() {
        let measured = [Measured {
            case: CASES[0],
            rounds: vec![rounds("slotway", &[9.0, 18.0, 9.5]), rounds("twemproxy", &[10.0, 20.0, 10.0])],
        }];
        let verdicts = verdicts(&measured);
        assert_eq!(verdicts.len(), 2);
        assert_eq!(verdicts[0].value, Some(0.9));
        assert_eq!(verdicts[1].value, None);
        let text = text(&measured);
        assert!(text.contains("pass") && text.contains("not measured"), "{text}");
        let json = json(&measured, Value::Null);
        assert_eq!(json["goals"][0]["pass"], true);
        assert_eq!(json["cases"][0]["targets"][0]["median"]["proxy_cpu"], 9.5);
    }

    #[test]
    fn who_could_not_take_part_has_a_dash_and_the_reason() {
        let absent = Some("knows no FT.SEARCH".to_owned());
        let rounds = vec![rounds("slotway", &[9.0]), Rounds { absent, ..rounds("envoy", &[]) }];
        let text = text(&[Measured { case: CASES[0], rounds }]);
        let line = text.lines().find(|line| line.trim_start().starts_with("envoy")).unwrap();
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["envoy", "-", "knows", "no", "FT.SEARCH"]);
    }
}
