//! `backend` and `connections` of a tenant: the user that it is at the backends, and what they must agree on.

use std::collections::HashMap;
use std::path::PathBuf;
use std::{env, fs};

use super::error::ConfigError;
use super::item::{Item, put};
use super::settings::Secret;
use super::tenants::{BackendLogin, BackendUser, Connections, TenantSettings};

/// A tenant's backend user as written.
#[derive(Default)]
pub(super) struct BackendUserFile {
    user: Option<String>,
    password: Option<Secret>,
    file: Option<PathBuf>,
    env: Option<String>,
    connections: Option<Connections>,
    /// One of its values can't be read, which was told: what else is missing may be the same mistake.
    broken: bool,
}

impl BackendUserFile {
    pub(super) fn read_user(&mut self, item: &mut Item<'_>) {
        // It goes into ACL lines that are given to a shell or to redis-cli.
        let allowed = "a name of 1 to 128 letters, digits and any of _ - . : @";
        let character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '@');
        let fits = |name: &str| (1..=128).contains(&name.len()) && name.chars().all(character);
        self.user = item.parse(allowed, |name| fits(name).then(|| name.to_owned()));
        self.broken |= self.user.is_none();
    }

    pub(super) fn read_password(&mut self, item: &mut Item<'_>) {
        self.password = item.hidden().text().map(Secret::new);
        self.broken |= self.password.is_none();
    }

    pub(super) fn read_password_file(&mut self, item: &mut Item<'_>) {
        self.file = item.file();
        self.broken |= self.file.is_none();
    }

    pub(super) fn read_password_env(&mut self, item: &mut Item<'_>) {
        self.env = item.text();
        self.broken |= self.env.is_none();
    }

    pub(super) fn read_connections(&mut self, item: &mut Item<'_>) {
        let read = item.parse("\"shared\" or \"own\"", |text| match text {
            "shared" => Some(Connections::Shared),
            "own" => Some(Connections::Own),
            _ => None,
        });
        put(&mut self.connections, read.map(Some));
    }

    /// The user, where there is one; the outer `None` where something is wrong, which is then told.
    pub(super) fn check(self, item: &mut Item<'_>) -> Option<Option<BackendUser>> {
        if self.broken {
            return None;
        }
        let passwords = [self.password.is_some(), self.file.is_some(), self.env.is_some()];
        let passwords = passwords.iter().filter(|is_set| **is_set).count();
        let wrong = match (&self.user, passwords) {
            (None, 0) if self.connections == Some(Connections::Own) => {
                Some("connections = \"own\" without backend.user")
            }
            (None, 0) => return Some(None),
            (None, _) => Some("a backend password without backend.user"),
            (Some(_), 0) => Some("backend.user without password, password_file or password_env"),
            (Some(_), 1) => None,
            (Some(_), _) => Some("more than one of backend.password, password_file and password_env"),
        };
        if let Some(wrong) = wrong {
            item.report(|place, key| ConfigError::BackendUser { place, key, wrong });
            return None;
        }
        let connections = self.connections.unwrap_or_default();
        let user = self.user.clone()?;
        let password = self.secret(item)?;
        Some(Some(BackendUser { login: BackendLogin { user, password }, connections }))
    }

    fn secret(self, item: &mut Item<'_>) -> Option<Secret> {
        let (source, text) = match (self.password, self.file, self.env) {
            (Some(password), ..) => return Some(password),
            (_, Some(file), _) => {
                let text = fs::read_to_string(&file).map_err(|error| format!("cannot be read: {error}"));
                (format!("backend.password_file {}", file.display()), text)
            }
            (.., env) => {
                let variable = env?;
                let text = env::var(&variable).map_err(|error| error.to_string());
                (format!("backend.password_env {variable}"), text)
            }
        };
        // Editors end a file with a newline that is no part of the password.
        let first = text.map(|text| text.lines().next().unwrap_or_default().to_owned());
        let reason = match first {
            Ok(password) if !password.is_empty() => return Some(Secret::new(password)),
            Ok(_) => "holds no password in its first line".to_owned(),
            Err(reason) => reason,
        };
        item.report(|place, key| {
            let (source_name, reason) = (source.clone(), reason.clone());
            ConfigError::Passwords { place, key, source_name, reason }
        });
        None
    }
}

/// A backend user has the rights of one namespace: of two tenants each would have the other's.
pub(super) fn check_unique(tenants: &[TenantSettings], errors: &mut Vec<ConfigError>) {
    let mut seen = HashMap::new();
    for tenant in tenants {
        let Some(backend) = &tenant.backend else { continue };
        let user = backend.login.user.as_str();
        let first = *seen.entry(user).or_insert(tenant);
        let are_apart = first.namespace.is_some() || tenant.namespace.is_some();
        if !std::ptr::eq(first, tenant) && are_apart {
            errors.push(ConfigError::DuplicateBackendUser { user: user.to_owned() });
        }
    }
}
