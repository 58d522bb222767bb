//! SLOTWAY: what the proxy tells of itself: how commands are served, and where keys are.

use super::super::dispatch::Turn;
use crate::backend::link::Link;
use crate::cluster::slot::Slot;
use crate::cluster::slot_map::{NodeIndex, Role, SlotMap};
use crate::command::promise;
use crate::command::spec::Spec;
use crate::refusal::Refusal;
use crate::resp::reply_writer::ReplyWriter;
use crate::resp::request::Request;

/// Answers a subcommand of SLOTWAY.
///
/// # Errors
/// The refusal that is the answer.
pub(super) fn answer(
    spec: &Spec,
    request: &Request<'_>,
    turn: &Turn<'_>,
    writer: &mut ReplyWriter<'_>,
) -> Result<(), Refusal> {
    match &*spec.name {
        "slotway|commands" => commands(request, turn, writer)?,
        "slotway|topology" => topology(turn, writer),
        "slotway|key" => key(request.arg(2).unwrap_or_default(), turn.pool.slot_map(), writer),
        _ => {
            writer.array(HELP.len());
            HELP.iter().for_each(|line| writer.simple(line));
        }
    }
    Ok(())
}

const HELP: &[&str] = &[
    "SLOTWAY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "COMMANDS [<command-name> ...]",
    "    Return how each command is routed and what is promised of it.",
    "KEY <key>",
    "    Return the slot of a key, and the shard and node that serve it.",
    "TOPOLOGY",
    "    Return the shards with their slots, nodes and connections.",
    "HELP",
    "    Print this help.",
];

/// What the given commands, or all, are promised: a name, where it goes, and what can be relied on.
fn commands(request: &Request<'_>, turn: &Turn<'_>, writer: &mut ReplyWriter<'_>) -> Result<(), Refusal> {
    let table = turn.commands;
    let named = request
        .args_from(2)
        .map(|name| {
            let found = table.by_full_name(name);
            found.ok_or_else(|| Refusal::unknown_command(name, std::iter::empty()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let rows = if named.is_empty() { table.iter().filter(|spec| !spec.container).collect() } else { named };
    writer.array(rows.len());
    for spec in rows {
        let told = promise::of(spec);
        writer.map(3);
        for (name, text) in [("command", &*spec.name), ("route", told.route), ("promise", told.promise)] {
            writer.bulk(name);
            writer.bulk(text);
        }
    }
    Ok(())
}

fn key(key: &[u8], map: &SlotMap, writer: &mut ReplyWriter<'_>) {
    let slot = Slot::of(key);
    writer.map(4);
    writer.bulk("slot");
    writer.integer(slot.number().into());
    let owner = map.owner(slot);
    writer.bulk("shard");
    match owner.and_then(|owner| shard_number(map, owner)) {
        Some(number) => writer.integer(number),
        None => writer.null(),
    }
    writer.bulk("node");
    match map.owner_endpoint(slot) {
        Some(endpoint) => writer.bulk(endpoint.to_string()),
        None => writer.null(),
    }
    writer.bulk("replicas");
    write_replicas(map, owner, writer);
}

/// The shards are numbered in the order of their lowest slots, from 0.
fn shard_number(map: &SlotMap, owner: NodeIndex) -> Option<i64> {
    let place = map.shard_slots().iter().position(|slot| map.owner(*slot) == Some(owner))?;
    i64::try_from(place).ok()
}

fn topology(turn: &Turn<'_>, writer: &mut ReplyWriter<'_>) {
    let map = turn.pool.slot_map();
    writer.map(2);
    writer.bulk("generation");
    writer.integer(map.generation().0.into());
    writer.bulk("shards");
    writer.array(map.shard_slots().len());
    for (number, slot) in (0..).zip(map.shard_slots()) {
        let owner = map.owner(*slot);
        writer.map(5);
        writer.bulk("shard");
        writer.integer(number);
        writer.bulk("slots");
        let ranges = map.ranges(owner);
        writer.array(ranges.len());
        ranges.iter().for_each(|(first, last)| writer.bulk(format!("{first}-{last}")));
        writer.bulk("node");
        let endpoint = map.owner_endpoint(*slot);
        writer.bulk(endpoint.map(ToString::to_string).unwrap_or_default());
        writer.bulk("connections");
        let state = |link: &&Link| endpoint == Some(&link.endpoint);
        let states: Vec<&str> = turn.pool.links().filter(state).map(|link| link.state_word()).collect();
        writer.array(states.len());
        states.iter().for_each(|state| writer.bulk(state));
        writer.bulk("replicas");
        write_replicas(map, owner, writer);
    }
}

fn write_replicas(map: &SlotMap, owner: Option<NodeIndex>, writer: &mut ReplyWriter<'_>) {
    let follows = |role: Role| owner.is_some_and(|owner| role == Role::Replica(owner));
    let replicas: Vec<_> = map.nodes().iter().filter(|node| follows(node.role)).collect();
    writer.array(replicas.len());
    replicas.iter().for_each(|node| writer.bulk(node.endpoint.to_string()));
}
