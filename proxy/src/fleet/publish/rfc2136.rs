//! ◆ Keeps a name of a DNS server's zone at what the plan says.

#![expect(clippy::disallowed_methods, reason = "I/O: waits, and reads the clock")]

use std::sync::Arc;

use hickory_proto::rr::RecordType;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::exchange::ask;
use crate::config::fleet::FleetSettings;
use crate::config::publishers::{NameServer, Rfc2136Settings};
use crate::dns::resolver::Resolver;
use crate::entry::board::Board;
use crate::entry::plan::Plan;
use crate::entry::publish::course::{Course, Pace, Step};
use crate::entry::publish::ledger::{Ledger, Publisher};
use crate::entry::publish::outcome::{self, Failure, Outcome};
use crate::entry::publish::records::Records;
use crate::entry::publish::signing::SigningKey;
use crate::entry::publish::update::Target;
use crate::entry::publish::wanted::{Wanted, wanted};

const OWN: Publisher = Publisher::Rfc2136;

/// What publishing to a DNS server needs.
pub(super) struct Task {
    pub(super) fleet: Arc<FleetSettings>,
    pub(super) settings: Rfc2136Settings,
    pub(super) board: Board,
    pub(super) plans: watch::Receiver<Arc<Plan>>,
    pub(super) resolver: Arc<Resolver>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) began: Instant,
    /// Microseconds since 1970.
    pub(super) wall_clock: fn() -> u64,
}

/// What does not change while the task runs.
struct Means {
    target: Target,
    key: SigningKey,
}

impl Task {
    /// Publishes for as long as the process runs, or until the settings change.
    pub(super) async fn run(mut self) {
        let Some(means) = self.means() else { return };
        self.ledger.on_start(OWN);
        let pace = Pace { between: self.settings.ttl, look: self.settings.verify_interval };
        let mut course = Course::new(pace);
        loop {
            let plan = self.plans.borrow_and_update().clone();
            let ttl = u32::try_from(self.settings.ttl.as_secs()).unwrap_or(u32::MAX);
            let wanted = wanted(&plan, &self.fleet, &course.seen(), ttl);
            match course.next(self.began.elapsed(), wanted.as_ref(), self.board.leads()) {
                Step::Read => self.look(&means, &mut course, &plan, ttl).await,
                Step::Write { seen, wanted: records } => {
                    // There is a step to write only where something is wanted.
                    let Some(wanted) = wanted else { continue };
                    debug_assert_eq!(records, wanted.records);
                    self.write(&means, &mut course, &seen, &wanted).await;
                }
                Step::Wait(until) => tokio::select! {
                    () = sleep_until(self.began + until) => {}
                    changed = self.plans.changed() => if changed.is_err() { return },
                },
            }
        }
    }

    /// `None` where the settings can't be used, which their check does not let through.
    fn means(&self) -> Option<Means> {
        let target = Target::try_new(&self.settings.zone, &self.settings.name);
        let target = target.ok_or_else(|| Failure::Malformed("the name is not in the zone".to_owned()));
        match target.and_then(|target| Ok(Means { target, key: SigningKey::try_new(&self.settings)? })) {
            Ok(means) => Some(means),
            Err(failure) => {
                self.tell(&failure, None);
                None
            }
        }
    }

    async fn look(&self, means: &Means, course: &mut Course, plan: &Plan, ttl: u32) {
        let mut last = None;
        for server in &self.settings.servers {
            match self.read(means, server).await {
                Ok(records) => {
                    course.on_read(self.began.elapsed(), records);
                    let seen = course.seen();
                    let wanted = wanted(plan, &self.fleet, &seen, ttl);
                    if let Some(wanted) = wanted.filter(|wanted| course.is_as_good_as(&seen, &wanted.records))
                    {
                        self.ledger.on_in_force(OWN, self.now(), wanted.plan_at, seen.to_string());
                    }
                    return;
                }
                Err(failure) => {
                    let goes_on = failure.is_of_one_server();
                    last = Some((server, failure));
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        if let Some((server, failure)) = last {
            self.tell(&failure, Some(server));
        }
        course.on_failure(self.began.elapsed(), fastrand::f64());
    }

    async fn read(&self, means: &Means, server: &NameServer) -> Result<Records, Failure> {
        let name = means.target.name();
        let question = |of| {
            let question = means.target.question(of, fastrand::u16(..)).to_vec();
            question.map_err(|error| Failure::Malformed(error.to_string()))
        };
        let (v4, v6) = (question(RecordType::A)?, question(RecordType::AAAA)?);
        Ok(Records {
            v4: outcome::of_a(&ask(&self.resolver, server, &v4).await?, &v4, name)?,
            v6: outcome::of_aaaa(&ask(&self.resolver, server, &v6).await?, &v6, name)?,
        })
    }

    async fn write(&self, means: &Means, course: &mut Course, seen: &Records, wanted: &Wanted) {
        let mut last = None;
        for server in &self.settings.servers {
            match self.update(means, server, seen, wanted).await {
                Ok(Outcome::Published) => {
                    course.on_published(self.began.elapsed(), wanted);
                    let records = &wanted.records;
                    info!(name = %self.settings.name, %server, was = %seen, is = %records, "published");
                    self.ledger.on_published(OWN, self.now(), wanted.plan_at, records.to_string());
                    return;
                }
                Ok(Outcome::Differs) => {
                    debug!(%server, "another has published meanwhile");
                    self.ledger.on_difference(OWN);
                    return course.on_failure(self.began.elapsed(), fastrand::f64());
                }
                Err(failure) => last = Some((server, failure)),
            }
        }
        if let Some((server, failure)) = last {
            self.tell(&failure, Some(server));
        }
        course.on_failure(self.began.elapsed(), fastrand::f64());
    }

    async fn update(
        &self,
        means: &Means,
        server: &NameServer,
        seen: &Records,
        wanted: &Wanted,
    ) -> Result<Outcome, Failure> {
        let message = means.target.update(seen, &wanted.records, fastrand::u16(..));
        let signed = means.key.sign(message, self.now() / 1_000)?;
        let answer = ask(&self.resolver, server, &signed.bytes).await?;
        outcome::of_update(&answer, &signed, &means.key, self.now() / 1_000)
    }

    /// Tells what is wrong, once until something else is.
    fn tell(&self, failure: &Failure, server: Option<&NameServer>) {
        let trouble = server.map_or_else(|| failure.to_string(), |server| format!("{server}: {failure}"));
        if self.ledger.on_failure(OWN, failure.kind(), trouble.clone()) {
            warn!(name = %self.settings.name, error = %trouble, "cannot publish");
        }
    }

    /// Milliseconds since 1970.
    fn now(&self) -> u64 {
        (self.wall_clock)() / 1_000
    }
}
