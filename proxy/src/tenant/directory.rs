//! Who may log in, and as which tenant. Immutable: a reload makes a new one.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::limits::{Limits, Usage};
use super::namespace::Namespace;
use super::proof::Proof;
use super::shares::Account;
use crate::backend::lane::LoginId;
use crate::backend::logins::Logins;
use crate::cluster::id::ClusterId;
use crate::command::access::Access;
use crate::command::spec::Spec;
use crate::command::table::Table;
use crate::config::settings::ClusterSettings;
use crate::config::tenants::{Connections, TenantSettings};
use crate::tls::identity::Subject;

/// All tenants of the proxy and their users.
#[derive(Debug)]
pub struct Directory {
    tenants: Vec<Arc<Tenant>>,
    /// Each user, once for each way to show that one is it; never none.
    users: HashMap<String, Vec<Arc<Member>>>,
    /// Who a client is that has not said AUTH; `None`: it has to.
    unnamed: Option<Arc<Member>>,
    /// Of tenants with doors of their own, by name.
    doors: HashMap<Arc<str>, Entrance>,
    /// Whose door a name is that TLS clients ask for.
    tls_names: HashMap<String, Arc<str>>,
}

/// What holds for clients who come in by a door of a tenant's own.
#[derive(Debug)]
struct Entrance {
    /// Who such a client is that has not said AUTH; `None`: it has to.
    unnamed: Option<Arc<Member>>,
    has_users: bool,
}

/// A user of a tenant: what a client is once it has logged in.
#[derive(Debug)]
pub struct Member {
    /// The user's name, as ACL WHOAMI tells it.
    pub user: Box<str>,
    /// Whose limits, namespace and rules hold for it.
    pub tenant: Arc<Tenant>,
    /// What it was let in by.
    pub proof: Proof,
}

/// Applications that share what one tenant has: its keys, rules and limits.
#[derive(Debug)]
pub struct Tenant {
    /// What it is called.
    name: Arc<str>,
    /// Which cluster has its keys.
    pub cluster: ClusterId,
    /// As the operator wrote it.
    pub settings: TenantSettings,
    /// What it may say; `None`: whatever the proxy serves.
    access: Option<Access>,
    /// Where its names stand; `None`: they are the cluster's.
    namespace: Option<Namespace>,
    /// Whom it is at the backends.
    backend: LoginId,
    /// How much of everything it may have; `None`: no limit is set.
    limits: Option<Arc<Limits>>,
    usage: Arc<Usage>,
    /// Its place among the tenants: what it has under way is counted by it.
    account: Account,
}

/// Why nobody was let in. Not told to who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoginError {
    /// There is no such user.
    UnknownUser,
    /// The password is none of his.
    WrongPassword,
}

impl Directory {
    /// The directory of these tenants. Where none of them has users, everybody is the first one's `default`.
    #[must_use]
    pub fn new(settings: &[TenantSettings], clusters: &[ClusterSettings], logins: &Logins) -> Self {
        Self::of(settings, clusters, logins, None)
    }

    /// The directory of these tenants in the place of this one. Tenants that are in both go on with what they use; one
    /// whose settings are the same is the same one.
    #[must_use]
    pub fn succeeded_by(
        &self,
        settings: &[TenantSettings],
        clusters: &[ClusterSettings],
        logins: &Logins,
    ) -> Self {
        Self::of(settings, clusters, logins, Some(self))
    }

    fn of(
        settings: &[TenantSettings],
        clusters: &[ClusterSettings],
        logins: &Logins,
        old: Option<&Self>,
    ) -> Self {
        let table = Table::builtin();
        let kept = |name: &str| old?.tenants.iter().find(|tenant| **tenant.name() == *name);
        let taken: Vec<_> =
            settings.iter().filter_map(|tenant| kept(&tenant.name)).map(|tenant| tenant.account).collect();
        // Those above 65,536 share an account.
        let mut free = (0..=u16::MAX).map(Account).filter(|account| !taken.contains(account));
        let tenant = |tenant: &TenantSettings| {
            let before = kept(&tenant.name);
            if let Some(same) = before.filter(|before| before.settings == *tenant) {
                return Arc::clone(same);
            }
            let account = before.map(|before| before.account);
            let account = account.unwrap_or_else(|| free.next().unwrap_or(Account(u16::MAX)));
            Arc::new(Tenant::new((tenant, clusters), account, &table, logins, before.map(Arc::as_ref)))
        };
        let tenants: Vec<_> = settings.iter().map(tenant).collect();
        let mut users = HashMap::new();
        for tenant in &tenants {
            for user in &tenant.settings.users {
                let member = |proof| {
                    let (user, tenant) = (user.name.as_str().into(), Arc::clone(tenant));
                    Arc::new(Member { user, tenant, proof })
                };
                users.insert(user.name.clone(), Proof::all_of(user).map(member).collect());
            }
        }
        let unnamed = Self::find_unnamed(&users, &tenants);
        let has_door = |tenant: &&Arc<Tenant>| {
            !tenant.settings.listen.is_empty() || !tenant.settings.tls_names.is_empty()
        };
        let doors = tenants.iter().filter(has_door);
        let doors = doors.map(|tenant| (Arc::clone(tenant.name()), Entrance::of(tenant, &users))).collect();
        let named = |tenant: &Arc<Tenant>| {
            let names = tenant.settings.tls_names.clone().into_iter();
            names.map(|name| (name, Arc::clone(tenant.name()))).collect::<Vec<_>>()
        };
        let tls_names = tenants.iter().flat_map(named).collect();
        Self { tenants, users, unnamed, doors, tls_names }
    }

    fn find_unnamed(
        users: &HashMap<String, Vec<Arc<Member>>>,
        tenants: &[Arc<Tenant>],
    ) -> Option<Arc<Member>> {
        if let Some(members) = users.get("default") {
            return members.iter().find(|member| member.proof == Proof::Unneeded).cloned();
        }
        tenants.first().filter(|_| users.is_empty()).map(default_of)
    }

    /// Who a client is before it says AUTH; `None` where it has to. By a door of `tenant`'s own it is that one's.
    #[must_use]
    pub fn unnamed(&self, tenant: Option<&str>) -> Option<&Arc<Member>> {
        match tenant {
            None => self.unnamed.as_ref(),
            Some(tenant) => self.doors.get(tenant)?.unnamed.as_ref(),
        }
    }

    /// Whose door this name is, which a TLS client asked for.
    #[must_use]
    pub fn behind(&self, tls_name: &str) -> Option<&Arc<str>> {
        self.tls_names.get(tls_name)
    }

    /// Who a client is that showed this certificate, which was believed; by a door of `tenant`'s own only as a user of
    /// that one.
    #[must_use]
    pub fn certified(&self, tenant: Option<&str>, subject: &Subject) -> Option<&Arc<Member>> {
        let proofs: Vec<_> = subject.names().map(|name| Proof::of_subject(&name)).collect();
        let members = self.users.values().flatten().filter(|member| proofs.contains(&member.proof));
        let is_let_in = |member: &&Arc<Member>| tenant.is_none_or(|name| **member.tenant.name() == *name);
        // Of a certificate with several names that are several users' the first by name, not by chance.
        members.filter(is_let_in).min_by(|a, b| a.user.cmp(&b.user))
    }

    /// Whether anybody has to log in: without users a password alone is a mistake of the client.
    #[must_use]
    pub fn has_users(&self, tenant: Option<&str>) -> bool {
        match tenant {
            None => !self.users.is_empty(),
            Some(tenant) => self.doors.get(tenant).is_none_or(|door| door.has_users),
        }
    }

    /// Whether there are clients that have to log in.
    #[must_use]
    pub fn wants_logins(&self) -> bool {
        self.unnamed.is_none() || self.doors.values().any(|door| door.unnamed.is_none())
    }

    /// All tenants, in the order of the settings.
    #[must_use]
    pub fn tenants(&self) -> &[Arc<Tenant>] {
        &self.tenants
    }

    /// The tenant of this name.
    #[must_use]
    pub fn tenant(&self, name: &str) -> Option<&Arc<Tenant>> {
        self.tenants.iter().find(|tenant| **tenant.name() == *name)
    }

    /// A user, once for each way to show that one is it.
    #[must_use]
    pub fn user(&self, name: &str) -> &[Arc<Member>] {
        self.users.get(name).map_or(&[], Vec::as_slice)
    }

    /// Who this user is, if the password is one of his; by a door of `tenant`'s own only if he is that one's. How long
    /// it takes does not tell how much was right.
    ///
    /// # Errors
    /// What was wrong, for the operator.
    pub fn log_in(
        &self,
        tenant: Option<&str>,
        user: &[u8],
        password: &[u8],
    ) -> Result<&Arc<Member>, LoginError> {
        if !self.has_users(tenant) {
            // The servers' default user without a password takes any.
            let unnamed = self.unnamed(tenant).filter(|member| member.user.as_bytes() == user);
            return unnamed.ok_or(LoginError::UnknownUser);
        }
        let digest: [u8; 32] = Sha256::digest(password).into();
        let members = std::str::from_utf8(user).ok().and_then(|user| self.users.get(user));
        let members = members.ok_or(LoginError::UnknownUser)?;
        let found =
            members.iter().fold(None, |found, own| if own.proof.fits(&digest) { Some(own) } else { found });
        let is_let_in = |member: &Arc<Member>| tenant.is_none_or(|name| **member.tenant.name() == *name);
        if !members.iter().all(is_let_in) {
            return Err(LoginError::UnknownUser);
        }
        found.ok_or(LoginError::WrongPassword)
    }
}

impl Entrance {
    fn of(tenant: &Arc<Tenant>, users: &HashMap<String, Vec<Arc<Member>>>) -> Self {
        let own = &tenant.settings.users;
        let open = own.iter().find(|user| user.name == "default" && user.is_open());
        let unnamed = match open.and_then(|user| users.get(&user.name)?.first()) {
            Some(member) => Some(Arc::clone(member)),
            None => own.is_empty().then(|| default_of(tenant)),
        };
        Self { unnamed, has_users: !own.is_empty() }
    }
}

/// The user that nobody has to log in as, of a tenant without users.
fn default_of(tenant: &Arc<Tenant>) -> Arc<Member> {
    Arc::new(Member { user: "default".into(), tenant: Arc::clone(tenant), proof: Proof::Unneeded })
}

impl Tenant {
    /// As the settings have it, in the place of what it was before.
    fn new(
        (settings, clusters): (&TenantSettings, &[ClusterSettings]),
        account: Account,
        table: &Table,
        logins: &Logins,
        before: Option<&Self>,
    ) -> Self {
        // The check has seen to it that there is one of this name.
        let cluster =
            clusters.iter().position(|cluster| cluster.name == settings.cluster).unwrap_or_default();
        let cluster = ClusterId(cluster as u16);
        let access = settings.commands.clone().map(|rules| Access::new(rules, table));
        let backend =
            settings.backend.as_ref().map_or(LoginId::PROXY, |backend| logins.number(&backend.login));
        let namespace = settings.namespace.map(Namespace::new);
        let name = settings.name.as_str().into();
        let usage = before.map(|before| before.usage.clone()).unwrap_or_default();
        let limits = match before {
            Some(before) if before.settings.limits == settings.limits => before.limits.clone(),
            _ if settings.limits.is_empty() => None,
            _ => Some(Arc::new(Limits::new(settings.limits, usage.clone()))),
        };
        let settings = settings.clone();
        Self { name, cluster, account, access, namespace, backend, limits, usage, settings }
    }

    /// Its limits; `None` where none is set: what it uses is not counted then.
    #[must_use]
    pub fn limits(&self) -> Option<&Arc<Limits>> {
        self.limits.as_ref()
    }

    /// What it uses of its limits; it outlives these.
    #[must_use]
    pub fn limits_state(&self) -> &Arc<Usage> {
        &self.usage
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What its requests are counted by.
    #[must_use]
    pub fn account(&self) -> Account {
        self.account
    }

    /// Whether it may say this command.
    #[must_use]
    pub fn may_say(&self, spec: &Spec) -> bool {
        self.access.as_ref().is_none_or(|access| access.allows(spec))
    }

    /// Its own part of the cluster, if that is not the whole.
    #[must_use]
    pub fn namespace(&self) -> Option<&Namespace> {
        self.namespace.as_ref()
    }

    /// Whether anything has to be looked at before a request of this tenant is handled.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        self.access.is_some()
            || self.limits.is_some()
            || self.has_namespace()
            || (self.has_wall() && !self.has_own_connections())
    }

    /// Whether its keys are a part of the cluster's only.
    #[must_use]
    pub fn has_namespace(&self) -> bool {
        self.settings.namespace.is_some()
    }

    /// Whether it is a user of its own at the backends, which those keep within its rights.
    #[must_use]
    pub fn has_wall(&self) -> bool {
        self.backend != LoginId::PROXY
    }

    /// Whether all its requests go over connections of that user.
    #[must_use]
    pub fn has_own_connections(&self) -> bool {
        self.settings.backend.as_ref().is_some_and(|backend| backend.connections == Connections::Own)
    }

    /// Whom it is at the backends, where the servers are to keep it within its rights; the proxy where it is nobody.
    #[must_use]
    pub fn walled(&self) -> LoginId {
        self.backend
    }

    /// Whom its other requests go as.
    #[must_use]
    pub fn ordinary(&self) -> LoginId {
        if self.has_own_connections() { self.backend } else { LoginId::PROXY }
    }
}

#[cfg(test)]
pub(in crate::tenant) mod tests {
    use super::*;
    use crate::config::tenants::{DEFAULT_TENANT, User};

    /// A tenant with these users and their passwords.
    pub(in crate::tenant) fn tenant(name: &str, users: &[(&str, &[&str])]) -> TenantSettings {
        let user = |(name, passwords): &(&str, &[&str])| User {
            name: (*name).to_owned(),
            passwords: passwords.iter().map(|password| Sha256::digest(password).into()).collect(),
            subjects: Vec::new(),
        };
        let users = users.iter().map(user).collect();
        TenantSettings { users, ..TenantSettings::new(name) }
    }

    #[test]
    fn any_password_of_a_user_lets_it_in_as_its_tenant() {
        let shop = tenant("shop", &[("ann", &["old", "new"]), ("bob", &["x"])]);
        let directory = Directory::new(&[tenant(DEFAULT_TENANT, &[]), shop], &[], &Logins::default());
        assert!(directory.unnamed(None).is_none());
        for password in ["old", "new"] {
            let member = directory.log_in(None, b"ann", password.as_bytes()).expect("ann");
            assert_eq!((&*member.user, &**member.tenant.name()), ("ann", "shop"));
        }
        use LoginError::{UnknownUser, WrongPassword};
        for (user, password, why) in [
            ("ann", "x", WrongPassword),
            ("ann", "", WrongPassword),
            ("eve", "old", UnknownUser),
            ("default", "old", UnknownUser),
        ] {
            let refused = directory.log_in(None, user.as_bytes(), password.as_bytes()).map(|_| ());
            assert_eq!(refused, Err(why), "{user} {password}");
        }
    }

    #[test]
    fn a_default_user_without_a_password_is_who_says_nothing() {
        let guests = tenant("guests", &[("default", &[])]);
        let directory =
            Directory::new(&[tenant(DEFAULT_TENANT, &[("ann", &["x"])]), guests], &[], &Logins::default());
        assert_eq!(directory.unnamed(None).map(|member| &**member.tenant.name()), Some("guests"));
        assert!(directory.log_in(None, b"default", b"whatever").is_ok());
    }

    #[test]
    fn without_users_everybody_is_the_default_user() {
        let directory = Directory::new(&[tenant(DEFAULT_TENANT, &[])], &[], &Logins::default());
        assert!(!directory.has_users(None));
        assert_eq!(directory.unnamed(None).map(|member| &*member.user), Some("default"));
        assert!(directory.log_in(None, b"default", b"any").is_ok());
        assert!(directory.log_in(None, b"ann", b"any").is_err());
    }

    #[test]
    fn a_tenant_that_is_in_new_settings_too_goes_on_with_what_it_uses() {
        use crate::tenant::limits::Used;

        let settings = [tenant(DEFAULT_TENANT, &[]), tenant("shop", &[("ann", &["x"])])];
        let old = Directory::new(&settings, &[], &Logins::default());
        old.tenants()[1].limits_state().add(Used::Clients, 7);
        let new = old.succeeded_by(&[settings[1].clone(), tenant("web", &[])], &[], &Logins::default());
        let used = |index: usize| new.tenants()[index].limits_state().used(Used::Clients);
        assert_eq!((used(0), used(1)), (7, 0));
    }

    #[test]
    fn by_its_own_door_a_client_is_a_tenants_and_nobody_elses() {
        let with_door = |mut tenant: TenantSettings| {
            tenant.listen.push(([127, 0, 0, 1], 1).into());
            tenant
        };
        let tenants = [
            tenant(DEFAULT_TENANT, &[("default", &[]), ("ann", &["x"])]),
            with_door(tenant("shop", &[("bob", &["x"])])),
            with_door(tenant("open", &[])),
        ];
        let directory = Directory::new(&tenants, &[], &Logins::default());
        let unnamed = |door| directory.unnamed(door).map(|member| &**member.tenant.name());
        assert_eq!((unnamed(None), unnamed(Some("shop"))), (Some(DEFAULT_TENANT), None));
        assert_eq!((unnamed(Some("open")), unnamed(Some("gone"))), (Some("open"), None));
        assert!(directory.wants_logins());
        let enters = |door, user: &str| directory.log_in(door, user.as_bytes(), b"x").is_ok();
        assert!(enters(None, "ann") && enters(None, "bob") && enters(Some("shop"), "bob"));
        for (door, user) in [("shop", "ann"), ("shop", "default"), ("open", "bob"), ("gone", "bob")] {
            assert!(!enters(Some(door), user), "{user} by the door of {door}");
        }
        assert!(enters(Some("open"), "default") && !directory.has_users(Some("open")));
    }
}
