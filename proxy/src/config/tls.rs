//! The section `[tls]`: how it is written, and what its keys must agree on. The files that it names are read here
//! once, so that what is wrong with one is told before a port is bound.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::error::ConfigError;
use super::file::BackendFile;
use super::item::{Item, Key};
use super::settings::TlsSettings;
use crate::tls::acceptor::{ClientAuth, ServerFiles, Versions};
use crate::tls::connector::{ClientFiles, is_server_name};
use crate::tls::credentials::{Files, Pair};

/// The section as written.
#[derive(Clone, Debug)]
pub(super) struct TlsFile {
    pub(super) listen: Vec<SocketAddr>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) client_ca: Option<PathBuf>,
    pub(super) client_auth: ClientAuth,
    pub(super) versions: Versions,
    pub(super) handshake_timeout: Duration,
    pub(super) names: Vec<(String, Pair)>,
}

/// The section `[cluster.tls]` as written.
#[derive(Clone, Default, Debug)]
pub(super) struct BackendTlsFile {
    pub(super) enabled: Option<bool>,
    pub(super) ca: Option<PathBuf>,
    pub(super) server_name: Option<String>,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

/// One `[[tls.names]]` as written: each is `None` where it is not, `Some(None)` where it is wrong, which was told.
#[derive(Default)]
pub(super) struct NameFile {
    name: Option<Option<String>>,
    certificate: Option<Option<PathBuf>>,
    key: Option<Option<PathBuf>>,
}

/// Every key of a name.
pub(super) const NAME_KEYS: &[Key<NameFile>] = &[
    Key { path: "name", set: |name, item| name.name = Some(read_host(item)) },
    Key { path: "certificate", set: |name, item| name.certificate = Some(read_path(item)) },
    Key { path: "key", set: |name, item| name.key = Some(read_path(item)) },
];

/// A file.
pub(super) fn read_path(item: &mut Item<'_>) -> Option<PathBuf> {
    item.text().map(PathBuf::from)
}

/// One `[[tls.names]]`.
pub(super) fn read_name(item: &mut Item<'_>) -> Option<(String, Pair)> {
    let mut name = NameFile::default();
    item.table(NAME_KEYS, &mut name);
    let NameFile { name: Some(name), certificate: Some(certificate), key: Some(key) } = name else {
        item.report(|place, key| ConfigError::TlsName { place, key });
        return None;
    };
    Some((name?, Pair { certificate: certificate?, key: key? }))
}

/// `off`, `optional` or `required`.
pub(super) fn read_client_auth(item: &mut Item<'_>) -> Option<ClientAuth> {
    item.parse("\"off\", \"optional\" or \"required\"", |text| match text {
        "off" => Some(ClientAuth::Off),
        "optional" => Some(ClientAuth::Optional),
        "required" => Some(ClientAuth::Required),
        _ => None,
    })
}

/// A list of versions.
pub(super) fn read_versions(item: &mut Item<'_>) -> Option<Versions> {
    let versions = item.list(|item| {
        item.parse("\"1.2\" or \"1.3\"", |text| matches!(text, "1.2" | "1.3").then(|| text.to_owned()))
    })?;
    let has = |version: &str| versions.iter().any(|other| other == version);
    match (has("1.2"), has("1.3")) {
        (true, true) => Some(Versions::Both),
        (true, false) => Some(Versions::Only12),
        (false, true) => Some(Versions::Only13),
        (false, false) => None,
    }
}

/// The name that a backend's certificate has to have.
pub(super) fn read_server_name(item: &mut Item<'_>) -> Option<String> {
    let fits = |text: &str| is_server_name(text).then(|| text.to_owned());
    item.parse("a host name or an address", fits)
}

/// A host name, or `*.` and one.
fn read_host(item: &mut Item<'_>) -> Option<String> {
    item.parse("a host name, whose first label may be *", |text| {
        is_host(text.strip_prefix("*.").unwrap_or(text)).then(|| text.to_ascii_lowercase())
    })
}

/// Whether a name can be one that clients ask for.
pub(super) fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(known)
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// What the section means; `None` where clients are not served over TLS, or where something is wrong.
pub(super) fn check_tls(file: TlsFile, errors: &mut Vec<ConfigError>) -> Option<TlsSettings> {
    let TlsFile { listen, certificate, key, client_ca, client_auth, versions, handshake_timeout, names } =
        file;
    let written = certificate.is_some() || key.is_some() || client_ca.is_some() || !names.is_empty();
    if listen.is_empty() {
        if written || client_auth != ClientAuth::Off {
            errors.push(lacks("tls", "listen", "the section [tls] is written".to_owned()));
        }
        return None;
    }
    let mut need = |value: Option<PathBuf>, key| {
        if value.is_none() {
            errors.push(lacks("tls", key, "tls.listen is written".to_owned()));
        }
        value
    };
    let default = need(certificate, "certificate").zip(need(key, "key"));
    match (client_auth, &client_ca) {
        (ClientAuth::Off, Some(_)) => {
            errors.push(lacks("tls", "client_auth", "tls.client_ca is written".to_owned()))
        }
        (ClientAuth::Optional | ClientAuth::Required, None) => {
            errors.push(lacks("tls", "client_ca", "tls.client_auth is written".to_owned()))
        }
        _ => {}
    }
    let mut seen = HashSet::new();
    for (name, _) in names.iter().filter(|(name, _)| !seen.insert(name.as_str())) {
        errors.push(ConfigError::DuplicateTlsName { name: name.clone() });
    }
    let (certificate, key) = default?;
    let default = Pair { certificate, key };
    let files = ServerFiles { default, names, client_auth, client_ca, versions };
    if errors.is_empty()
        && let Err(error) = files.load()
    {
        errors.push(ConfigError::Certificate { section: "tls".to_owned(), error });
    }
    Some(TlsSettings { listen, files, handshake_timeout })
}

/// What a cluster's section, such as `[cluster.tls]`, and the backends' URLs mean; `None` without TLS, or where something is wrong.
pub(super) fn check_backend_tls(
    section: &str,
    file: BackendTlsFile,
    backend: &BackendFile,
    errors: &mut Vec<ConfigError>,
) -> Option<ClientFiles> {
    let BackendTlsFile { enabled, ca, server_name, certificate, key } = file;
    let mut urls = backend.urls();
    let (first, by_url) = urls.next().map_or(("", false), |(key, url)| (key, url.tls));
    if urls.any(|(_, url)| url.tls != by_url) {
        let key = format!("{}.{first}", section.trim_end_matches(".tls"));
        errors.push(ConfigError::SchemesDiffer { key });
        return None;
    }
    if by_url && enabled == Some(false) {
        let (first, second) = (format!("{section}.enabled = false"), "rediss://".to_owned());
        errors.push(ConfigError::Conflict { first, second });
    }
    if !by_url && enabled != Some(true) {
        if ca.is_some() || server_name.is_some() || certificate.is_some() || key.is_some() {
            let why = format!("the section [{section}] is written, or rediss:// in the backends' URLs");
            errors.push(lacks(section, "enabled", why));
        }
        return None;
    }
    let pair = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Pair { certificate, key }),
        (None, None) => None,
        (Some(_), None) => {
            errors.push(lacks(section, "key", format!("{section}.certificate is written")));
            None
        }
        (None, Some(_)) => {
            errors.push(lacks(section, "certificate", format!("{section}.key is written")));
            None
        }
    };
    let files = ClientFiles { ca, server_name, pair };
    if errors.is_empty()
        && let Err(error) = files.load()
    {
        errors.push(ConfigError::Certificate { section: section.to_owned(), error });
    }
    Some(files)
}

fn lacks(section: &str, key: &str, why: String) -> ConfigError {
    ConfigError::TlsLacks { lacks: format!("{section}.{key}"), why }
}

impl Default for TlsFile {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            certificate: None,
            key: None,
            client_ca: None,
            client_auth: ClientAuth::Off,
            versions: Versions::Both,
            handshake_timeout: Duration::from_secs(10),
            names: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::ConfigErrors;
    use super::super::settings::Settings;
    use super::super::written::Written;
    use super::*;

    fn read(section: &str) -> Result<Settings, ConfigErrors> {
        let mut written = Written::default();
        written.read_text("f.toml", &format!("cluster.seeds = ['redis://a:7000']\n{section}"));
        written.check()
    }

    fn errors(section: &str) -> Vec<ConfigError> {
        read(section).expect_err(section).0
    }

    #[test]
    fn without_a_section_nothing_speaks_tls() {
        assert_eq!(read("").expect("valid").tls, None);
        assert_eq!(read("[tls]").expect("valid").tls, None);
    }

    #[test]
    fn what_a_listener_needs_is_told_all_at_once() {
        let lacks = |section: &str| {
            let lacks = errors(section).into_iter().map(|error| match error {
                ConfigError::TlsLacks { lacks, .. } => lacks,
                other => panic!("{other}"),
            });
            lacks.collect::<Vec<_>>()
        };
        assert_eq!(lacks("[tls]\nlisten = ['0.0.0.0:1']"), ["tls.certificate", "tls.key"]);
        assert_eq!(lacks("[tls]\nlisten = ['0.0.0.0:1']\ncertificate = 'c'"), ["tls.key"]);
        assert_eq!(lacks("[tls]\ncertificate = 'c'\nkey = 'k'"), ["tls.listen"]);
        assert_eq!(lacks("[tls]\nclient_auth = 'optional'"), ["tls.listen"]);
        let whole = "[tls]\nlisten = ['0.0.0.0:1']\ncertificate = 'c'\nkey = 'k'\n";
        assert_eq!(lacks(&format!("{whole}client_auth = 'required'")), ["tls.client_ca"]);
        assert_eq!(lacks(&format!("{whole}client_ca = 'a'")), ["tls.client_auth"]);
    }

    #[test]
    fn one_of_the_kinds_of_listeners_is_enough_and_an_address_stands_once() {
        assert_eq!(errors("listen = 'off'"), [ConfigError::NoListener]);
        let twice = "listen = ['0.0.0.0:1']\n[tls]\nlisten = ['0.0.0.0:1']\ncertificate = 'c'\nkey = 'k'";
        let twin = ConfigError::DuplicateAddress { key: "tls.listen", address: "0.0.0.0:1".to_owned() };
        assert_eq!(errors(twice), [twin]);
    }

    #[test]
    fn names_are_host_names_with_their_own_pair_and_stand_once() {
        let names = |names: &str| errors(&format!("[tls]\n{names}"));
        for name in ["", "a..b", "a b", "*", "a.*", "*.*.a", "-\u{e9}", &"a".repeat(64)] {
            let found = names(&format!("[[tls.names]]\nname = '{name}'\ncertificate = 'c'\nkey = 'k'"));
            assert!(matches!(found[0], ConfigError::BadValue { .. }), "{name}: {found:?}");
        }
        let found = names("[[tls.names]]\nname = 'a'\ncertificate = 'c'");
        assert!(matches!(&found[0], ConfigError::TlsName { key, .. } if key == "tls.names[0]"), "{found:?}");
        let twice = "[[tls.names]]\nname = 'A.b'\ncertificate = 'c'\nkey = 'k'\n".repeat(2);
        let found = names(&format!("listen = ['0.0.0.0:1']\ncertificate = 'c'\nkey = 'k'\n{twice}"));
        assert_eq!(found, [ConfigError::DuplicateTlsName { name: "a.b".to_owned() }]);
    }

    #[test]
    fn backends_are_connected_to_over_tls_by_their_urls_or_by_the_section() {
        let tls = |text: &str| {
            let mut written = Written::default();
            written.read_text("f.toml", text);
            written.check().map(|settings| settings.clusters[0].tls.is_some()).map_err(|errors| errors.0)
        };
        let plain = "cluster.seeds = ['redis://a', 'redis://b']\n";
        let ca = "cluster.tls.ca = '/no/such/file'\n";
        assert_eq!(tls(plain), Ok(false));
        let unreadable = |text: &str| {
            let found = tls(text).expect_err(text);
            matches!(found.as_slice(), [ConfigError::Certificate { section, .. }] if section == "cluster.tls")
        };
        assert!(unreadable(&format!("{plain}{ca}cluster.tls.enabled = true")));
        assert!(unreadable(&format!("cluster.standalone = 'rediss://a'\n{ca}")));
        let lacks = |text: &str, lacks: &str| match tls(text).expect_err(text).as_slice() {
            [ConfigError::TlsLacks { lacks: found, .. }] => assert_eq!(found, lacks),
            other => panic!("{text}: {other:?}"),
        };
        lacks(&format!("{plain}{ca}"), "cluster.tls.enabled");
        lacks("cluster.standalone = 'rediss://a'\ncluster.tls.key = 'k'", "cluster.tls.certificate");
        lacks("cluster.standalone = 'rediss://a'\ncluster.tls.certificate = 'c'", "cluster.tls.key");
        let differ = ConfigError::SchemesDiffer { key: "cluster.seeds".to_owned() };
        assert_eq!(tls("cluster.seeds = ['redis://a', 'rediss://b']"), Err(vec![differ]));
        let found = tls("cluster.standalone = 'rediss://a'\ncluster.tls.enabled = false").expect_err("both");
        assert!(matches!(found[0], ConfigError::Conflict { .. }), "{found:?}");
        let found = tls(&format!("{plain}cluster.tls.server_name = 'a b'")).expect_err("no name");
        assert!(matches!(found[0], ConfigError::BadValue { .. }), "{found:?}");
    }

    #[test]
    fn versions_are_one_or_both() {
        let versions = |text: &str| {
            let mut errors = Vec::new();
            let source = std::sync::Arc::from("f");
            let value = super::super::value::Value::from_flag(text);
            read_versions(&mut Item::new("tls.versions", &value, &source, &mut errors, &mut Vec::new()))
                .ok_or(errors.len())
        };
        assert_eq!(versions("['1.2']"), Ok(Versions::Only12));
        assert_eq!(versions("['1.3', '1.2', '1.3']"), Ok(Versions::Both));
        assert_eq!(versions("['1.1']"), Err(1));
        assert_eq!(versions("[]"), Err(1));
    }
}
