//! The report: aligned tables for people, JSON for the plots.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::cell::{Cell, Figures, Outcome};
use crate::goals::{Bound, Results, Verdict, ratios, verdicts};
use crate::leaving::Leaving;
use crate::memory::Memory;
use crate::storm::Storm;

const MIB: f64 = 1024.0 * 1024.0;

/// The report for people. Writing to a String can't fail.
pub(crate) fn text(results: &Results) -> String {
    let mut out = String::new();
    cell_table(&results.cells, &mut out);
    ratio_table(&results.cells, &mut out);
    match &results.storm {
        Some(Ok(storm)) => storm_table(storm, &mut out),
        Some(Err(why)) => drop(writeln!(out, "\nStorm: - ({why})")),
        None => {}
    }
    match &results.leaving {
        Some(Ok(leaving)) => leaving_table(leaving, &mut out),
        Some(Err(why)) => drop(writeln!(out, "\nLeaving: - ({why})")),
        None => {}
    }
    goal_table(&verdicts(results), &mut out);
    out
}

/// The report for programs.
pub(crate) fn json(results: &Results, setting: Value) -> Value {
    let part = |value: Value, why: Option<&String>| why.map_or(value, |why| json!({ "refused": why }));
    let storm = results.storm.as_ref();
    let leaving = results.leaving.as_ref();
    json!({
        "setting": setting,
        "cells": results.cells.iter().map(cell_json).collect::<Vec<_>>(),
        "ratios": ratios(&results.cells),
        "storm": part(json!(storm.and_then(|one| one.as_ref().ok())), storm.and_then(|one| one.as_ref().err())),
        "leaving": part(json!(leaving.and_then(|one| one.as_ref().ok())), leaving.and_then(|one| one.as_ref().err())),
        "goals": verdicts(results),
    })
}

fn cell_json(cell: &Cell) -> Value {
    let mut value = json!(cell);
    if let Outcome::Measured(figures) = &cell.outcome {
        value["kernel"] = json!(figures.kernel());
    }
    value
}

/// A column of figures: heading, width, digits behind the point, and the figure.
type Column = (&'static str, usize, usize, fn(&Figures) -> Option<f64>);

const COLUMNS: [Column; 7] = [
    ("clients", 9, 0, |one| Some(one.clients as f64)),
    ("private dirty", 15, 0, |one| Some(one.user.private_dirty)),
    ("allocated", 11, 0, |one| one.user.allocated),
    ("resident", 10, 0, |one| one.user.resident),
    ("kernel", 8, 0, |one| Some(one.kernel())),
    ("sockets", 9, 2, |one| Some(one.sockets)),
    ("accounted", 11, 2, |one| one.socket.accounted),
];

fn cell_table(cells: &[Cell], out: &mut String) {
    if cells.is_empty() {
        return;
    }
    let headings: String = COLUMNS.iter().map(|(name, width, ..)| format!("{name:>width$}")).collect();
    let _ = writeln!(out, "\nBytes a client, at the proxy\n  {:<12}{:>7}  {:<24}{headings}", "", "table", "");
    for cell in cells {
        let table = cell.table.map_or_else(|| "-".to_owned(), |table| table.to_string());
        let _ = write!(out, "  {:<12}{table:>7}  {:<24}", cell.target, cell.case.title());
        match &cell.outcome {
            Outcome::Measured(figures) => {
                for (_, width, digits, figure) in &COLUMNS {
                    let _ = write!(out, "{:>width$}", show(figure(figures), *digits));
                }
                let _ = writeln!(out, "  {}", figures.limit.words());
            }
            Outcome::Refused(why) => drop(writeln!(out, "{:>9}  {why}", "-")),
        }
    }
}

fn ratio_table(cells: &[Cell], out: &mut String) {
    let ratios = ratios(cells);
    if ratios.is_empty() {
        return;
    }
    let headings = format!("{:>9}{:>11}{:>10}{:>15}", "clients", "allocated", "resident", "private dirty");
    let _ = writeln!(out, "\nA table of 16,384 buckets over one of 16\n  {:<24}{headings}", "");
    for one in ratios {
        let cells = [(one.allocated, 11), (one.resident, 10), (one.private_dirty, 15)];
        let cells: String =
            cells.iter().map(|(value, width)| format!("{:>width$}", show(*value, 2))).collect();
        let _ = writeln!(out, "  {:<24}{:>9}{cells}", one.case.title(), one.clients);
    }
}

fn storm_table(storm: &Storm, out: &mut String) {
    let (clients, at_once, why) = (storm.clients, storm.at_once, storm.limit.words());
    let _ = writeln!(out, "\n{clients} clients connect, block and leave, {at_once} at once ({why}): MiB");
    let _ = writeln!(
        out,
        "  {:<12}{:>8}{:>15}{:>11}{:>10}{:>12}",
        "", "RSS", "private dirty", "allocated", "resident", "RSS/start"
    );
    let mut row = |name: &str, memory: &Memory| {
        let mib = |bytes: Option<u64>| show(bytes.map(|bytes| bytes as f64 / MIB), 1);
        let _ = writeln!(
            out,
            "  {name:<12}{:>8}{:>15}{:>11}{:>10}{:>12.2}",
            mib(Some(memory.rss)),
            mib(Some(memory.private_dirty)),
            mib(memory.allocated),
            mib(memory.resident),
            memory.rss as f64 / storm.start.rss as f64,
        );
    };
    row("start", &storm.start);
    row("peak", &storm.peak);
    for (seconds, memory) in &storm.after {
        row(&format!("after {seconds} s"), memory);
    }
}

fn leaving_table(leaving: &Leaving, out: &mut String) {
    let clients = leaving.proxy.clients;
    let _ = writeln!(
        out,
        "\nFrom a client's close to its backend connection's, {clients} clients one after the other: ms"
    );
    let _ = writeln!(out, "  {:<16}{:>8}{:>8}{:>8}", "", "p50", "p99", "max");
    for (name, delay) in [("slotway", leaving.proxy), ("no proxy", leaving.relay_alone)] {
        let _ = writeln!(out, "  {name:<16}{:>8.3}{:>8.3}{:>8.3}", delay.p50_ms, delay.p99_ms, delay.max_ms);
    }
}

fn goal_table(verdicts: &[Verdict], out: &mut String) {
    let _ = writeln!(out, "\nGoals\n  {:<36}{:>10}{:>9}{:>10}", "", "goal", "stretch", "reached");
    for one in verdicts {
        let goal = match one.goal {
            Bound::AtMost(most) => format!("<= {most}"),
            Bound::AtLeast(least) => format!(">= {least}"),
        };
        let mark = one.met.map_or("not measured", |met| if met { "met" } else { "MISSED" });
        let digits = if one.value.is_some_and(|value| value >= 100.0) { 0 } else { 2 };
        let _ = writeln!(
            out,
            "  {:<36}{goal:>10}{:>9}{:>10}  {mark}",
            one.name,
            show(one.stretch, 0),
            show(one.value, digits),
        );
    }
}

fn show(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Case;

    #[test]
    fn what_a_target_refuses_is_a_dash_with_its_words() {
        let refused = Outcome::Refused("ERR unknown command".to_owned());
        let cell =
            Cell { target: "twemproxy".to_owned(), table: None, case: Case::Blocked, outcome: refused };
        let results = Results { cells: vec![cell], storm: Some(Err("no".to_owned())), leaving: None };
        let text = text(&results);
        assert!(text.contains("-  ERR unknown command") && text.contains("Storm: - (no)"), "{text}");
        assert!(text.contains("not measured"), "{text}");
        let json = json(&results, Value::Null);
        assert_eq!(json["cells"][0]["outcome"]["refused"], "ERR unknown command");
        assert_eq!(json["storm"]["refused"], "no");
        assert_eq!(json["leaving"], Value::Null);
    }
}
