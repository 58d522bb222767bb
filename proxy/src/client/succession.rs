//! What a worker's clients become in a new generation of the settings: who may stay is who he was by the new rules,
//! all others leave.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU16;
use std::sync::Arc;

use tracing::{debug, info};

use super::clients::Clients;
use super::connection::Client;
use super::quotas::Quotas;
use super::session::Login;
use super::transaction;
use crate::backend::lane::LoginId;
use crate::command::table::Table;
use crate::shared::Shared;
use crate::tenant::directory::{Directory, Member, Tenant};
use crate::tenant::succession::Revoked;

/// What becomes of all clients of one member.
struct Fate {
    /// As it was; held so that no other can stand where it stood.
    before: Arc<Member>,
    after: Result<Arc<Member>, Revoked>,
    /// What it might say and may say no more.
    forbidden: HashSet<NonZeroU16>,
    /// How many of its clients leave.
    leaving: u64,
}

impl Fate {
    fn of(before: &Arc<Member>, directory: &Directory, commands: &Table) -> Self {
        let after = directory.successor(before).cloned();
        let forbidden =
            after.as_ref().map_or_else(|_| HashSet::new(), |after| forbidden(before, after, commands));
        Self { before: Arc::clone(before), after, forbidden, leaving: 0 }
    }
}

impl Clients {
    /// Makes every client who it is in the new directory. Looks at all of them, once a generation.
    pub fn succeed(&mut self, shared: &Shared, commands: &Table, limits: &mut Quotas) {
        let mut fates: HashMap<*const Member, Fate> = HashMap::new();
        for client in self.iter_mut() {
            let Some(member) = client.session.login().member() else {
                // It was not let in; maybe nobody has to show anything now.
                let first =
                    shared.process.first_login(client.session.door.tenant.as_deref(), client.peer_identity());
                if first.is_in() {
                    client.walled = first.backend() != LoginId::PROXY;
                    client.session.log_in(first);
                    client.take_limits(limits);
                }
                continue;
            };
            let fate = fates.entry(Arc::as_ptr(member));
            let fate = fate.or_insert_with_key(|_| Fate::of(member, &shared.process.tenants, commands));
            succeed(client, fate, limits);
        }
        for Fate { before, after, leaving, .. } in fates.into_values().filter(|fate| fate.leaving > 0) {
            self.metrics.clients_revoked.add(leaving);
            if let Err(why) = after {
                let tenant = &**before.tenant.name();
                info!(user = &*before.user, tenant, clients = leaving, %why, "closing clients that may not stay");
            }
        }
    }
}

fn succeed(client: &mut Client, fate: &mut Fate, limits: &mut Quotas) {
    match &fate.after {
        Ok(member) => {
            let queued = client.session.transaction.as_ref();
            if queued.is_some_and(|queued| queued.has_any(&fate.forbidden)) {
                transaction::abort(client);
            }
            client.session.log_in(Login::As(Arc::clone(member)));
            let (now, before) = (&member.tenant, &fate.before.tenant);
            if (now.ordinary(), now.walled()) != (before.ordinary(), before.walled()) {
                // Its next request goes over other connections than those in flight, which it must not overtake.
                // Whom it goes as the guard finds out, of who has one.
                client.walled |= now.ordinary() != LoginId::PROXY;
                client.congested = true;
            }
            if !has_same_limits(now, before) {
                client.take_limits(limits);
            }
        }
        Err(why) => {
            if client.revoke() {
                let session = &client.session;
                debug!(client.addr = %session.peer, client.id = session.id, %why, "closing a client");
                fate.leaving += 1;
            }
        }
    }
}

fn has_same_limits(now: &Tenant, before: &Tenant) -> bool {
    match (now.limits(), before.limits()) {
        (Some(now), Some(before)) => Arc::ptr_eq(now, before),
        (now, before) => now.is_none() && before.is_none(),
    }
}

/// The commands that the rules of a tenant don't allow any more.
fn forbidden(before: &Member, after: &Member, commands: &Table) -> HashSet<NonZeroU16> {
    let (before, after) = (&before.tenant, &after.tenant);
    if !after.has_other_rules(before) {
        return HashSet::new();
    }
    let forbidden = commands.iter().filter(|spec| before.may_say(spec) && !after.may_say(spec));
    forbidden.filter_map(|spec| spec.number).collect()
}
