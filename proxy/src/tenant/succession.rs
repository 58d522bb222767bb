//! What a reload makes of who is logged in: whether he stays, and as whom. Pure.

use std::fmt;
use std::sync::Arc;

use super::directory::{Directory, Member, Tenant};
use super::proof::Proof;

/// Why a client that was let in is not any more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Revoked {
    /// There is no such user.
    User,
    /// What it was let in by lets nobody in any more: the password was taken out, or now there is one.
    Proof,
    /// The user is another tenant's.
    Tenant,
    /// Its tenant's keys stand elsewhere: what the client has begun is about others.
    Namespace,
}

impl Directory {
    /// Whom a member of an earlier directory is here.
    ///
    /// # Errors
    /// Why he may not stay.
    pub fn successor(&self, before: &Member) -> Result<&Arc<Member>, Revoked> {
        // By a door of the tenant's own, or by everybody's, where nobody has to log in.
        let doors = [Some(&**before.tenant.name()), None];
        let is_it = |door, member: &Arc<Member>| !self.has_users(door) && member.user == before.user;
        let alone =
            doors.into_iter().find_map(|door| self.unnamed(door).filter(|member| is_it(door, member)));
        let members = self.user(&before.user);
        let fits = |member: &&Arc<Member>| member.proof == Proof::Unneeded || member.proof == before.proof;
        let Some(any) = alone.or_else(|| members.first()) else { return Err(Revoked::User) };
        if any.tenant.name() != before.tenant.name() {
            return Err(Revoked::Tenant);
        }
        let member = alone.or_else(|| members.iter().find(fits)).ok_or(Revoked::Proof)?;
        if member.tenant.stands_elsewhere(&before.tenant) {
            return Err(Revoked::Namespace);
        }
        Ok(member)
    }
}

impl Tenant {
    /// Whether its keys are not those of the tenant as it was: whatever decides where keys stand is compared here.
    fn stands_elsewhere(&self, before: &Self) -> bool {
        (self.settings.namespace, &self.settings.cluster)
            != (before.settings.namespace, &before.settings.cluster)
    }

    /// Whether its rules are not those of the tenant as it was.
    #[must_use]
    pub fn has_other_rules(&self, before: &Self) -> bool {
        self.settings.commands != before.settings.commands
    }
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "the user was removed",
            Self::Proof => "what it logged in with is not valid any more",
            Self::Tenant => "the user is another tenant's",
            Self::Namespace => "the tenant's keys stand elsewhere",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::directory::tests::tenant;
    use super::*;
    use crate::backend::logins::Logins;
    use crate::config::tenants::{NamespaceId, NamespaceSettings, Placement, TenantSettings, User};

    /// Who logged in with `password` before, and what becomes of him.
    fn fate(
        before: &[TenantSettings],
        user: &str,
        password: &str,
        after: &[TenantSettings],
    ) -> Result<(), Revoked> {
        let before = Directory::new(before, &[], &Logins::default());
        let member = before.log_in(None, user.as_bytes(), password.as_bytes()).expect("a login");
        before.succeeded_by(after, &[], &Logins::default()).successor(member).map(|_| ())
    }

    #[test]
    fn who_is_still_let_in_stays() {
        let before = [tenant("default", &[]), tenant("shop", &[("ann", &["old"])])];
        let rotating = [tenant("default", &[]), tenant("shop", &[("ann", &["new", "old"]), ("bob", &["x"])])];
        assert_eq!(fate(&before, "ann", "old", &rotating), Ok(()));
        let open = [tenant("default", &[]), tenant("shop", &[("ann", &[])])];
        assert_eq!(fate(&before, "ann", "old", &open), Ok(()));
        let nobody = [tenant("default", &[])];
        assert_eq!(fate(&nobody, "default", "", &nobody), Ok(()));
    }

    #[test]
    fn who_is_let_in_no_more_is_told_why() {
        let before = [tenant("default", &[]), tenant("shop", &[("ann", &["old", "new"]), ("bob", &["x"])])];
        let rotated = [tenant("default", &[]), tenant("shop", &[("ann", &["new"])])];
        assert_eq!(fate(&before, "ann", "old", &rotated), Err(Revoked::Proof));
        assert_eq!(fate(&before, "ann", "new", &rotated), Ok(()));
        assert_eq!(fate(&before, "bob", "x", &rotated), Err(Revoked::User));
        let moved = [tenant("default", &[("ann", &["old", "new"])])];
        assert_eq!(fate(&before, "ann", "old", &moved), Err(Revoked::Tenant));
        let mut elsewhere = before.clone();
        let id = NamespaceId::parse("abcd1234").expect("an id");
        elsewhere[1].namespace = Some(NamespaceSettings { id, placement: Placement::Spread, databases: 1 });
        assert_eq!(fate(&before, "ann", "old", &elsewhere), Err(Revoked::Namespace));
    }

    #[test]
    fn who_never_logged_in_stays_until_he_has_to() {
        let nobody = Directory::new(&[tenant("default", &[])], &[], &Logins::default());
        let unnamed = nobody.unnamed(None).expect("nobody has to");
        let users =
            nobody.succeeded_by(&[tenant("default", &[("default", &["x"])])], &[], &Logins::default());
        assert_eq!(users.successor(unnamed).map(|_| ()), Err(Revoked::Proof));
        let others = nobody.succeeded_by(&[tenant("default", &[("ann", &["x"])])], &[], &Logins::default());
        assert_eq!(others.successor(unnamed).map(|_| ()), Err(Revoked::User));
        let guests = nobody.succeeded_by(
            &[tenant("default", &[("default", &[]), ("ann", &["x"])])],
            &[],
            &Logins::default(),
        );
        assert!(guests.successor(unnamed).is_ok());
    }

    #[test]
    fn a_tenant_that_did_not_change_is_the_same_one() {
        let settings = [tenant("default", &[]), tenant("shop", &[("ann", &["x"])])];
        let before = Directory::new(&settings, &[], &Logins::default());
        let mut changed = settings;
        changed[0].users.push(User { name: "bob".to_owned(), passwords: Vec::new(), subjects: Vec::new() });
        let after = before.succeeded_by(&changed, &[], &Logins::default());
        let same = |name| Arc::ptr_eq(before.tenant(name).expect("it"), after.tenant(name).expect("it"));
        assert!(same("shop") && !same("default"));
    }
}
