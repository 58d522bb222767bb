//! EXEC: whether a transaction goes whole to one place or by shares to several, and what guards it. Pure but for what
//! it queues on links.

use std::rc::Rc;

use super::connection::Client;
use super::dispatch::{Flow, Turn};
use super::private::job::Kind;
use super::private::{seek, several, start};
use super::send;
use super::transaction::{may_span, on_watching_node, watch_of};
use crate::backend::in_flight::Pending;
use crate::cluster::slot::Slot;
use crate::refusal::Refusal;
use crate::route::plan::per_shard;
use crate::route::plan::shares::Shares;

/// Sends what was queued.
///
/// # Errors
/// The refusal that is the answer.
pub(super) fn exec(client: &mut Client, watches: bool, turn: &mut Turn<'_>) -> Result<Flow, Refusal> {
    let Some(transaction) = &client.session.transaction else { return Err(Refusal::ExecWithoutMulti) };
    if transaction.aborted {
        turn.metrics.transactions_aborted.add(1);
        client.session.transaction = None;
        client.end_watch(turn);
        return Err(Refusal::ExecAbort);
    }
    let is_own = watches || client.tracking().is_some() || transaction.selected.is_some();
    if (is_own || transaction.shares.is_some()) && !client.replies.is_empty() {
        return Ok(Flow::Later);
    }
    let (own, spans) = (transaction.slot, transaction.shares.is_some());
    let slot = own.unwrap_or_else(|| turn.fixed_slot(client));
    let guard = if watches { guard(client, own, spans, turn) } else { Guard::None };
    let Some(transaction) = client.session.transaction.take() else { return Err(Refusal::ExecWithoutMulti) };
    match guard {
        Guard::Elsewhere => {
            client.end_watch(turn);
            return Err(Refusal::CrossSlot);
        }
        Guard::Broken => {
            turn.metrics.transactions.add(1);
            client.end_watch(turn);
            client.answer(seek::nil(client.session.protocol), turn.spares);
            return Ok(Flow::Done);
        }
        Guard::Several => {
            turn.metrics.transactions.add(1);
            let shares = transaction.into_shares(slot, turn);
            several::begin(client, shares, turn);
            return Ok(Flow::Done);
        }
        Guard::None if spans => {
            begin_per_shard(client, transaction.into_shares(slot, turn), turn);
            return Ok(Flow::Done);
        }
        Guard::None | Guard::One => {}
    }
    if transaction.queued == 0 && !watches {
        client.answer(b"*0\r\n", turn.spares);
        return Ok(Flow::Done);
    }
    turn.metrics.transactions.add(1);
    let (whole, queued) = (transaction.whole(), transaction.queued);
    if !is_own {
        let origin = send::open_plain(client, turn);
        let deadline = turn.now + turn.shared.command_timeout;
        // MULTI's and the queued commands' replies come in front of EXEC's.
        let pending = Pending::new(origin, slot, deadline).led_by(queued + 1);
        let lane = turn.lane(client);
        send::send_pending(client, origin, pending, lane, &whole, turn);
        return Ok(Flow::Done);
    }
    let database = transaction.selected.unwrap_or_else(|| client.session.backend_database());
    let kind = Kind::Exec { database, queued };
    if watches {
        on_watching_node(client, kind, whole.into(), turn);
    } else {
        start::begin(client, kind, slot, whole.into(), turn);
    }
    Ok(Flow::Done)
}

/// What guards a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Guard {
    /// No keys are watched.
    None,
    /// Keys watched on the connection that runs all of it.
    One,
    /// Keys watched in several places, or not where it runs.
    Several,
    /// Nobody knows whether watched keys were changed.
    Broken,
    /// Its keys are not where keys are watched, and may not be.
    Elsewhere,
}

/// How a transaction is guarded that runs in `slot`, or `spans` several.
fn guard(client: &Client, slot: Option<Slot>, spans: bool, turn: &mut Turn<'_>) -> Guard {
    let Some(watch) = watch_of(client) else { return Guard::None };
    let map = turn.pool.slot_map().clone();
    let mut is_here =
        |slot, node| map.owner_endpoint(slot).map(|endpoint| turn.private.node(endpoint)) == Some(node);
    let only = watch.only_node();
    let one = only.filter(|_| !spans).is_some_and(|node| slot.is_none_or(|slot| is_here(slot, node)));
    let has_moved = watch.broken || !watch.slots().all(|(slot, node)| is_here(slot, node));
    // A slot that has moved shows where it is asked for; of another one nobody would hear.
    let at_once = watch.slots().all(|(own, _)| slot.is_none_or(|slot| turn.are_together(own, slot)));
    match (one, may_span(client, turn)) {
        (true, false) => Guard::One,
        (true, true) if at_once || watch.broken => Guard::One,
        (false, false) if watch.broken => Guard::Broken,
        (false, false) => Guard::Elsewhere,
        (_, true) if has_moved => Guard::Broken,
        (_, true) => Guard::Several,
    }
}

/// Sends each shard its share of a transaction for which no keys are watched.
fn begin_per_shard(client: &mut Client, shares: Shares, turn: &mut Turn<'_>) {
    turn.metrics.transactions.add(1);
    turn.metrics.transactions_per_shard.add(1);
    let map = turn.pool.slot_map().clone();
    let node = |slot| map.owner(slot).map(|owner| owner.0);
    let begun = per_shard::begin(Rc::new(shares), client.session.protocol, node);
    let lane = turn.lane(client);
    send::start_plan(client, begun, lane, turn);
}
