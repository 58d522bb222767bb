//! ◆ The mover's loop, on the control thread: while the plan has an entry that is to be relieved or left it asks the workers
//! who is there, decides, and has them tell.

#![expect(clippy::disallowed_methods, reason = "I/O: its clock")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio::time::sleep;
use tracing::info;

use crate::config::fleet::FleetSettings;
use crate::entry::group::Group;
use crate::entry::mover::{Mover, Orders, Retirement, concerned};
use crate::entry::plan::Plan;
use crate::latest::Latest;
use crate::worker::message::{Message, WorkerHandle};

// Over so long what clients carry is measured.
const LOOK: Duration = Duration::from_secs(2);

/// Moves clients of these workers for ever.
pub async fn run(latest: Latest, workers: Vec<WorkerHandle>) {
    let began = Instant::now();
    let mut mover = Mover::default();
    let mut plans = latest.home().process.board.watch();
    while let Some(entries) = next_concerned(&mut plans).await {
        // What was carried before nobody looked is not of this time.
        let _ = ask(&workers, &entries).await;
        let looked = Instant::now();
        sleep(LOOK).await;
        let groups = ask(&workers, &entries).await;
        let millis = looked.elapsed().as_millis() as u64;
        let home = latest.home();
        let Some(fleet) = &home.process.settings.fleet else { continue };
        let own = home.process.node_id.to_string();
        let plan = plans.borrow_and_update().clone();
        let now = began.elapsed().as_millis() as u64;
        let orders = mover.decide((fleet, &own), &plan, groups, millis, now, |below| fastrand::u64(..below));
        obey(&workers, fleet, orders);
    }
}

/// Waits until clients of some entries have to be looked at.
async fn next_concerned(plans: &mut watch::Receiver<Arc<Plan>>) -> Option<Arc<[Arc<str>]>> {
    loop {
        let entries = concerned(&plans.borrow_and_update());
        if !entries.is_empty() {
            return Some(entries.into());
        }
        plans.changed().await.ok()?;
    }
}

/// The groups at these entries, of each worker.
async fn ask(workers: &[WorkerHandle], entries: &Arc<[Arc<str>]>) -> Vec<Vec<Group>> {
    let mut all = Vec::with_capacity(workers.len());
    for worker in workers {
        let (sender, receiver) = oneshot::channel();
        worker.tell(Message::Groups(entries.clone(), sender));
        // A worker that has ended has nobody.
        all.push(receiver.await.unwrap_or_default());
    }
    all
}

fn obey(workers: &[WorkerHandle], fleet: &FleetSettings, orders: Orders) {
    let (told, retired) =
        (orders.tell.len(), orders.retire.iter().map(|retirement| retirement.most).sum::<usize>());
    if told + retired > 0 {
        info!(fleet = fleet.name, told, retired, "moving clients to other entries");
    }
    for (worker, teller, push) in orders.tell {
        workers[worker].tell(Message::Move(teller.key, teller.generation, push));
    }
    for Retirement { entry, most, told_too } in orders.retire {
        let each = most.div_ceil(workers.len().max(1));
        for worker in workers {
            worker.tell(Message::Retire(entry.clone(), each, told_too));
        }
    }
}
