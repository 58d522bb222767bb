//! A slot that moves back and forth while clients ask.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use slotway::cluster::slot::Slot;

use crate::cluster::Cluster;
use crate::poll::eventually;
use crate::raw::PATIENCE;

/// How often it moves away and home again.
const TIMES: usize = 20;

/// Has each of `askers` ask again and again, on a thread of its own, while `slot` moves. One says whether it had an answer
/// that counts: behind each move, and `then`, at least one is asked from its beginning and has.
///
/// # Panics
/// Where one of them does, or has no such answer in time.
pub fn ask_while_it_moves(
    cluster: &Cluster,
    slot: Slot,
    askers: &mut [impl FnMut() -> bool + Send],
    mut then: impl FnMut() + Send,
) {
    let (moves, answered) = (AtomicBool::new(true), AtomicUsize::new(0));
    // As many may have been under way when the slot moved.
    let under_way = askers.len() - 1;
    thread::scope(|scope| {
        for ask in askers {
            scope.spawn(|| {
                while moves.load(Ordering::Relaxed) {
                    answered.fetch_add(usize::from(ask()), Ordering::Relaxed);
                }
            });
        }
        let mover = scope.spawn(|| {
            cluster.move_back_and_forth(slot, TIMES, || {
                then();
                let seen = answered.load(Ordering::Relaxed);
                eventually("an answer that counts", PATIENCE, || {
                    (answered.load(Ordering::Relaxed) > seen + under_way).then_some(())
                });
            });
        });
        let moved = mover.join();
        moves.store(false, Ordering::Relaxed);
        moved.expect("the slot has moved");
    });
}
