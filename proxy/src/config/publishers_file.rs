//! `[fleet.rfc2136]`, `[fleet.files]` and `fleet.agent_check` as written, and what their keys must agree on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs};

use super::error::ConfigError;
use super::item::Item;
use super::publishers::{
    Algorithm, DEFAULT_TTL, DEFAULT_VERIFY, FileSettings, NameServer, PublisherSettings, Rfc2136Settings,
    key_bytes,
};
use super::settings::Secret;

/// The keys as written; `None` where one is not.
#[derive(Clone, Debug)]
pub(super) struct PublishersFile {
    pub(super) servers: Option<Vec<NameServer>>,
    pub(super) zone: Option<String>,
    pub(super) name: Option<String>,
    pub(super) key_name: Option<String>,
    pub(super) key: Option<String>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) key_env: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) ttl: Duration,
    pub(super) verify_interval: Duration,
    pub(super) files: FileSettings,
    pub(super) agent_check: Option<SocketAddr>,
}

impl Default for PublishersFile {
    fn default() -> Self {
        Self {
            servers: None,
            zone: None,
            name: None,
            key_name: None,
            key: None,
            key_file: None,
            key_env: None,
            algorithm: Algorithm::default(),
            ttl: DEFAULT_TTL,
            verify_interval: DEFAULT_VERIFY,
            files: FileSettings::default(),
            agent_check: None,
        }
    }
}

pub(super) fn read_server(item: &mut Item<'_>) -> Option<NameServer> {
    item.parse(
        "a DNS server such as \"ns1.example.com\", \"192.0.2.53:5353\" or \"[2001:db8::53]:53\"",
        NameServer::parse,
    )
}

pub(super) fn read_algorithm(item: &mut Item<'_>) -> Option<Algorithm> {
    item.parse("hmac-sha256, hmac-sha384 or hmac-sha512", Algorithm::named)
}

/// Whole seconds, since DNS knows no others. Below five, resolvers stretch it or ask without end.
pub(super) fn read_ttl(item: &mut Item<'_>) -> Option<Duration> {
    let ttl = item.duration(Duration::from_secs(5)..=Duration::from_secs(3_600))?;
    Some(Duration::from_secs(ttl.as_secs()))
}

/// A file that is written.
pub(super) fn read_path(item: &mut Item<'_>) -> Option<PathBuf> {
    item.parse("the path of a file that is written, such as \"/var/lib/slotway/weights\"", |text| {
        let path = PathBuf::from(text);
        path.file_name().is_some().then_some(path)
    })
}

/// What the keys mean in a fleet of this name; nothing where something is wrong.
pub(super) fn check(
    file: PublishersFile,
    fleet: Option<&str>,
    errors: &mut Vec<ConfigError>,
) -> PublisherSettings {
    let (files, agent_check) = (file.files.clone(), file.agent_check);
    check_files(&files, errors);
    PublisherSettings { rfc2136: check_rfc2136(file, fleet, errors), files, agent_check }
}

fn check_files(files: &FileSettings, errors: &mut Vec<ConfigError>) {
    let paths = [("gdnsd", &files.gdnsd), ("coredns", &files.coredns), ("dnsendpoint", &files.dnsendpoint)];
    for (place, (key, path)) in paths.iter().enumerate() {
        let twin = paths[..place].iter().find(|(_, other)| path.is_some() && other == path);
        errors.extend(twin.map(|(other, _)| ConfigError::Fleet {
            wrong: format!("files.{other} and files.{key} are the same file, must be different ones"),
        }));
    }
}

fn check_rfc2136(
    file: PublishersFile,
    fleet: Option<&str>,
    errors: &mut Vec<ConfigError>,
) -> Option<Rfc2136Settings> {
    let sources = [
        ("rfc2136.key", file.key.is_some()),
        ("rfc2136.key_file", file.key_file.is_some()),
        ("rfc2136.key_env", file.key_env.is_some()),
    ];
    let set: Vec<_> = sources.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key).collect();
    let needed = [
        ("servers", file.servers.is_some()),
        ("zone", file.zone.is_some()),
        ("key_name", file.key_name.is_some()),
        ("key, key_file or key_env", !set.is_empty()),
    ];
    let is_written = needed.iter().any(|(_, is_set)| *is_set) || file.name.is_some();
    if !is_written {
        return None;
    }
    let mut wrong = |wrong: String| errors.push(ConfigError::Fleet { wrong });
    for (key, _) in needed.iter().filter(|(_, is_set)| !is_set) {
        wrong(format!("rfc2136: {key} is not written, must be for updates of DNS"));
    }
    if let [first, second, ..] = set[..] {
        wrong(format!("{first} and {second} exclude each other"));
        return None;
    }
    let (zone, name) = (file.zone?, file.name.or_else(|| fleet.map(str::to_owned))?);
    let is_in_zone = name.strip_suffix(&zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if !zone.is_empty() && !is_in_zone {
        wrong(format!("rfc2136.zone is {zone:?}, must be a zone that {name:?} is in"));
    }
    let key = check_key(set.first()?, file.key, file.key_file, file.key_env).map_err(wrong).ok()?;
    Some(Rfc2136Settings {
        servers: file.servers?,
        zone,
        name,
        key_name: file.key_name?,
        key,
        algorithm: file.algorithm,
        ttl: file.ttl,
        verify_interval: file.verify_interval,
    })
}

/// The key, wherever it stands; it is never shown.
fn check_key(
    source: &str,
    key: Option<String>,
    file: Option<PathBuf>,
    variable: Option<String>,
) -> Result<Secret, String> {
    let text = if let Some(file) = file {
        let text = fs::read_to_string(&file);
        let text = text.map_err(|error| format!("{source}: {} cannot be read: {error}", file.display()))?;
        text.lines().next().unwrap_or_default().to_owned()
    } else if let Some(variable) = variable {
        env::var(&variable).map_err(|_| format!("{source}: the variable {variable} is not set"))?
    } else {
        key.unwrap_or_default()
    };
    let key = Secret::new(text);
    let is_key = key_bytes(&key).is_some();
    is_key.then_some(key).ok_or_else(|| format!("{source} must be a key in base64, as tsig-keygen prints it"))
}
