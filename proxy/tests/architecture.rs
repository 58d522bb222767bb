//! The arrows: which module may use which, checked on the sources, and the map of `ARCHITECTURE.md` with them.
//! Where the code deviates, an exception with its reason stands here; one that is not needed any more fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What the modules of an area may use beside their own area. Whatever is not here is forbidden.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "server",
        &[
            "admin",
            "backend::connect",
            "backend::dial",
            "cluster",
            "command::table",
            "config",
            "dns",
            "drain",
            "entry::group",
            "fleet",
            "handover",
            "latest",
            "listener",
            "metrics",
            "process",
            "reload",
            "responder",
            "service",
            "shared",
            "socket",
            "tls",
            "worker",
        ],
    ),
    // Two processes of one host: words and sockets, nothing of what is served.
    ("handover", &[]),
    ("service", &["handover::place", "handover::taker"]),
    (
        "admin",
        &["config", "drain", "entry", "latest", "metrics", "process", "reload::status", "shared", "tenant"],
    ),
    ("listener", &["config", "latest", "metrics", "permit", "refusal", "socket", "worker"]),
    // What became of reading settings again is told of those in force.
    ("reload", &["config", "process"]),
    ("latest", &["config", "shared"]),
    (
        "worker",
        &[
            "backend",
            "client",
            "cluster::id",
            "cluster::link",
            "cluster::slot",
            "cluster::slot_map",
            "command::groups",
            "command::scripted",
            "command::spec",
            "command::table",
            "dns",
            "entry::group",
            "entry::header",
            "latest",
            "metrics",
            "permit",
            "private",
            "pubsub",
            "refusal",
            "resp",
            "route",
            "scripts",
            "shared",
            "stream",
            "tls",
        ],
    ),
    (
        "client",
        &[
            "backend",
            "cluster::id",
            "cluster::slot",
            "cluster::slot_map",
            "command",
            "config",
            "entry::group",
            "entry::traffic",
            "metrics",
            "moment",
            "permit",
            "private",
            "pubsub",
            "refusal",
            "resp",
            "route",
            "scripts",
            "shared",
            "tenant",
            "stream",
            "tls::identity",
        ],
    ),
    (
        "scripts",
        &["backend::lane", "backend::told", "cluster::slot_map", "command", "metrics", "resp", "route"],
    ),
    ("private", &["backend", "cluster::slot_map", "config", "metrics", "resp", "stream"]),
    // Who asked and which link: carried, never looked into.
    ("pubsub", &["backend::in_flight", "backend::pool", "command::spec", "moment", "resp"]),
    ("moment", &[]),
    ("monitors", &[]),
    (
        "shared",
        &[
            "cluster::id",
            "cluster::published",
            "command",
            "config",
            "metrics",
            "monitors",
            "process",
            "resp",
            "route",
            "scripts",
        ],
    ),
    (
        "process",
        &["cluster::id", "cluster::published", "command::local", "config", "entry", "refusal", "tenant"],
    ),
    ("route", &["cluster::slot", "cluster::slot_map", "command::spec", "resp"]),
    // A key's slot is arithmetic; where slots are served is not a command's business.
    ("command", &["cluster::slot", "resp"]),
    (
        "backend",
        &[
            "backoff",
            "cluster::readers",
            "cluster::replication",
            "cluster::slot",
            "cluster::slot_map",
            "config",
            "dns",
            "metrics",
            "resp",
            "socket",
            "stream",
            "tls::certificates",
            "tls::connector",
            "tls::failure",
            "tls::handshake",
        ],
    ),
    ("cluster", &["backoff", "config", "dns", "resp", "stream"]),
    ("dns", &["config"]),
    // An endpoint in the settings is the endpoint that connections go to.
    // Files of certificates are checked with the settings that name them.
    (
        "config",
        &[
            "cluster::slot_map",
            "command::access",
            "command::table",
            "tls::acceptor",
            "tls::connector",
            "tls::credentials",
            "tls::error",
        ],
    ),
    ("live", &["backend", "cluster", "command", "config", "dns", "metrics", "resp", "stream", "tenant"]),
    ("tenant", &["cluster::id", "cluster::slot", "command", "config", "resp", "tls::identity"]),
    ("entry", &["backoff", "config", "metrics"]),
    (
        "fleet",
        &[
            "backend",
            "backoff",
            "cluster",
            "config",
            "dns",
            "drain",
            "entry",
            "latest",
            "process",
            "resp",
            "stream",
            "tls::hello",
            "worker::message",
        ],
    ),
    ("responder", &["config", "entry", "latest", "metrics"]),
    ("stream", &["receive", "tls"]),
    ("tls", &["metrics", "receive"]),
    ("socket", &["config"]),
    // A limit has one name, in settings, metrics and errors.
    ("refusal", &["config::limits", "resp"]),
    ("resp", &[]),
    ("metrics", &[]),
    ("backoff", &[]),
    ("drain", &[]),
    ("receive", &[]),
    ("permit", &[]),
];

/// Uses against the arrows.
const AGAINST_ARROWS: &[(&str, &str, &str)] = &[
    ("client/task.rs", "worker", "a client's task borrows its worker whole for a turn: no channel, no lock"),
    ("process.rs", "backend::logins", "the users that tenants are at the backends, the same for all workers"),
    ("tenant/directory.rs", "backend::lane", "a tenant's backend user is a number of a lane"),
    ("tenant/directory.rs", "backend::logins", "which it gets when the settings are read"),
    ("shared.rs", "client::session", "tells how large a guarded client's requests may be"),
    ("shared.rs", "client::connection", "derives the watermarks from the settings, once for all clients"),
    ("process.rs", "client::session", "checks passwords, whose result is a session's login"),
    (
        "shared.rs",
        "backend::handshake",
        "tells what the backends call themselves, as the handshake learned it",
    ),
    ("process.rs", "backend::handshake", "has that identity of each cluster"),
    ("process.rs", "private::caps", "the limits of private connections count over all workers"),
    ("shared.rs", "backend::dial", "how a cluster's backends are connected to is one for all workers"),
    ("process.rs", "tls::acceptor", "what TLS clients are served by, the same for all workers"),
    ("process.rs", "tls::certificates", "what TLS clients are served by, the same for all workers"),
    ("process.rs", "tls::identity", "a certificate may be a user's"),
    ("cluster/published.rs", "command::table", "publishes the commands with the slot map"),
    (
        "cluster/discovery.rs",
        "command::learned",
        "asks the node that tells the topology for its commands too",
    ),
    ("cluster/discovery.rs", "command::spec", "hands the rows on to the table"),
    ("cluster/discovery.rs", "command::table", "begins with the table that all clusters share"),
    ("cluster/published.rs", "backend::handshake", "publishes that identity with the slot map"),
    ("cluster/learning.rs", "backend::handshake", "asks again when that identity changes"),
    ("cluster/discovery.rs", "backend::handshake", "its connections begin as all connections to backends do"),
    ("cluster/watch.rs", "backend::dial", "its connections begin as all connections to backends do"),
    ("cluster/discovery.rs", "backend::dial", "its connections begin as all connections to backends do"),
    ("cluster/watch.rs", "backend::connect", "its connections begin as all connections to backends do"),
    ("cluster/watch.rs", "backend::lane", "for the kind of connection that it opens"),
    ("cluster/watch.rs", "metrics", "tells how many replicas are read from, and why others are not"),
];

/// Pure files that use a ◆ file.
const PURE_ON_IO: &[(&str, &str, &str)] = &[
    ("client/own_log.rs", "client::connection", "changes the client's record, whose socket it never touches"),
    ("client/state.rs", "client::connection", "changes the client's record, whose socket it never touches"),
    ("client/cross.rs", "client::connection", "changes the client's record, whose socket it never touches"),
    ("client/moving.rs", "client::connection", "changes the client's record, whose socket it never touches"),
    ("client/guard.rs", "client::connection", "changes the client's record, whose socket it never touches"),
    ("client/limited.rs", "client::connection", "changes the client's record, whose socket it never touches"),
    ("client/logins.rs", "client::connection", "changes the client's record, whose socket it never touches"),
    ("client/locally.rs", "client::connection", "changes the client's record, whose socket it never touches"),
    (
        "client/fairness.rs",
        "client::connection",
        "changes the client's record, whose socket it never touches",
    ),
    ("client/exec.rs", "client::connection", "changes the client's record, whose socket it never touches"),
    (
        "client/private/outcome.rs",
        "client::connection",
        "changes the client's record, whose socket it never touches",
    ),
    (
        "client/own_scripts.rs",
        "client::connection",
        "changes the client's record, whose socket it never touches",
    ),
    (
        "client/namespaced.rs",
        "client::connection",
        "changes the client's record, whose socket it never touches",
    ),
    ("client/search.rs", "client::connection", "changes the client's record, whose socket it never touches"),
    (
        "client/private/search.rs",
        "client::connection",
        "changes the client's record, whose socket it never touches",
    ),
    (
        "client/private/seek.rs",
        "client::connection",
        "changes the client's record, whose socket it never touches",
    ),
    (
        "client/private/several.rs",
        "client::connection",
        "changes the client's record, whose socket it never touches",
    ),
    (
        "client/private/start.rs",
        "client::connection",
        "changes the client's record, whose socket it never touches",
    ),
    (
        "client/private/tracked.rs",
        "client::connection",
        "changes the client's record, whose socket it never touches",
    ),
    (
        "client/private/tracking.rs",
        "client::connection",
        "changes the client's record, whose socket it never touches",
    ),
    (
        "client/private/state.rs",
        "client::connection",
        "changes the client's record, whose socket it never touches",
    ),
    (
        "client/private/tried.rs",
        "client::connection",
        "changes the client's record, whose socket it never touches",
    ),
    (
        "client/transaction.rs",
        "client::connection",
        "changes the client's record, whose socket it never touches",
    ),
    ("client/private/handover.rs", "private::connection", "hands a connection that was opened to its client"),
    (
        "client/private/handover.rs",
        "client::connection",
        "changes the client's record, whose socket it never touches",
    ),
    (
        "client/scripted.rs",
        "client::connection",
        "changes the client's record, whose socket it never touches",
    ),
    (
        "client/succession.rs",
        "client::connection",
        "changes the client's record, whose socket it never touches",
    ),
    ("client/reads.rs", "client::connection", "changes the client's record, whose socket it never touches"),
    ("client/send.rs", "client::connection", "changes the client's record, whose socket it never touches"),
    ("worker/generations.rs", "worker", "a part of the worker, whose sockets and clock it does not touch"),
    ("worker/plans.rs", "worker", "a part of the worker, whose sockets and clock it does not touch"),
    ("worker/resend.rs", "worker", "a part of the worker, whose sockets and clock it does not touch"),
    ("private/pool.rs", "private::connection", "keeps idle connections, whose sockets it does not touch"),
    (
        "private/table.rs",
        "private::connection",
        "keeps a client's connections, whose sockets it does not touch",
    ),
    ("client/answers.rs", "client::connection", "changes clients' records, whose sockets it never touches"),
    (
        "client/clients.rs",
        "client::connection",
        "a reply is written where it comes in, without waking a task",
    ),
    (
        "client/dispatch.rs",
        "client::connection",
        "changes the client's record, whose socket it never touches",
    ),
    (
        "client/delivery.rs",
        "client::connection",
        "puts messages into the client's record, from where they come in",
    ),
    ("client/monitor.rs", "client::connection", "changes the client's record, whose socket it never touches"),
    (
        "client/subscribe.rs",
        "client::connection",
        "changes the client's record, whose socket it never touches",
    ),
    (
        "client/subscriber.rs",
        "client::connection",
        "a part of the record's own methods: queues bytes, touches no socket",
    ),
    ("shared.rs", "backend::dial", "hands it to the workers, which connect"),
    ("shared.rs", "client::connection", "for the type of the watermarks only"),
    ("worker/monitoring.rs", "worker", "a part of the worker's own methods: queues bytes, touches no socket"),
    (
        "worker/subscriptions.rs",
        "worker",
        "a part of the worker's own methods: queues bytes, touches no socket",
    ),
];

/// ◆ files that need no banned type or method by name.
const IO_WITHOUT_OPT_OUT: &[(&str, &str)] = &[
    ("client/connection.rs", "owns a client's connection, whose kinds are told apart elsewhere"),
    ("main.rs", "prints, and starts what does the rest"),
    ("handover/door.rs", "binds a Unix socket, which no ban names"),
    ("handover/taker.rs", "waits for the words that another file reads"),
    ("service/notify.rs", "sends datagrams over a Unix socket, which no ban names"),
    ("server/backends.rs", "starts the tasks of other files"),
    ("live/survey.rs", "waits for the answers that another file asks for"),
    ("client/private/drive.rs", "polls the sockets that the client's record owns"),
    ("private/connection.rs", "owns a connection, whose kinds are told apart elsewhere"),
    ("private/open.rs", "waits for the connection that another file opens"),
    ("client/task.rs", "polls the socket that the client's record owns"),
    ("worker/question.rs", "waits for what the workers send back"),
];

/// What of the settings may be seen outside `config`: the checked ones.
const SEEN_OF_CONFIG: &[&str] = &[
    "config",
    "config::changes",
    "config::fleet",
    "config::limits",
    "config::publishers",
    "config::reading",
    "config::settings",
    "config::tenants",
];

/// A source file.
struct Source {
    /// Below `src`.
    file: String,
    /// Without comments and tests.
    code: String,
    is_io: bool,
    opts_out: bool,
}

impl Source {
    fn read(file: String, text: &str) -> Self {
        let first = text.lines().next().unwrap_or_default();
        let (is_io, opts_out) = (first.starts_with("//! ◆"), opts_out(text));
        // Tests stand at the end of a file, or are a file.
        let code = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
        let code: Vec<_> = code.filter(|line| !line.trim_start().starts_with("//")).collect();
        Self { is_io, opts_out, code: code.join("\n"), file }
    }

    /// `a/b.rs` is `a::b`, `a/mod.rs` is `a`.
    fn module(&self) -> String {
        let path = self.file.trim_end_matches(".rs");
        path.trim_end_matches("/mod").replace('/', "::")
    }

    /// The binary's files use the library by its name.
    fn is_binary(&self) -> bool {
        matches!(area(&self.module()), "main" | "cli" | "dev")
    }
}

/// Whether the file opts out of the bans on sockets, tasks, sleeps and clocks.
fn opts_out(text: &str) -> bool {
    let attributes = text.split("#![expect(").skip(1).filter_map(|rest| rest.split_once("reason"));
    attributes.into_iter().any(|(lints, _)| lints.contains("clippy::disallowed_"))
}

fn area(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("src can be read") {
            let path = entry.expect("src can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let file = path.strip_prefix(&root).expect("below src").to_string_lossy().into_owned();
                let text = fs::read_to_string(&path).expect("sources are texts");
                found.push(Source::read(file, &text));
            }
        }
    }
    found.sort_by(|a, b| a.file.cmp(&b.file));
    found
}

/// Which modules each file uses, by the longest path that is a module.
fn uses(sources: &[Source]) -> BTreeMap<&str, BTreeSet<String>> {
    let modules: BTreeSet<_> = sources.iter().map(Source::module).collect();
    let of = |source: &Source| {
        let mut paths = Vec::new();
        if source.is_binary() {
            paths_behind(&source.code, "slotway::", "", &mut paths);
        } else {
            paths_behind(&source.code, "crate::", "", &mut paths);
            let module = source.module();
            let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
            let grandparent = parent.rsplit_once("::").map_or("", |(parent, _)| parent);
            paths_behind(&source.code, "super::super::", grandparent, &mut paths);
            paths_behind(&source.code.replace("super::super::", ""), "super::", parent, &mut paths);
        }
        let known = paths.iter().filter_map(|path| longest_module(path, &modules));
        known.filter(|module| *module != source.module()).collect()
    };
    sources.iter().map(|source| (source.file.as_str(), of(source))).collect()
}

/// Adds the paths that stand behind each `prefix` in `code`, below `base`; a group gives one path an item.
fn paths_behind(code: &str, prefix: &str, base: &str, paths: &mut Vec<String>) {
    for rest in code.split(prefix).skip(1) {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        let path = [base, rest[..end].trim_end_matches("::")].join("::");
        match rest[end..].strip_prefix('{').and_then(|group| group.split_once('}')) {
            Some((group, _)) => paths.extend(group.split(',').map(|item| format!("{path}::{}", item.trim()))),
            None => paths.push(path),
        }
    }
}

fn longest_module(path: &str, modules: &BTreeSet<String>) -> Option<String> {
    let mut path = path.trim_start_matches("::");
    loop {
        if modules.contains(path) {
            return Some(path.to_owned());
        }
        path = path.rsplit_once("::")?.0;
    }
}

fn is_below(module: &str, allowed: &str) -> bool {
    module == allowed || module.strip_prefix(allowed).is_some_and(|rest| rest.starts_with("::"))
}

/// Fails for each use that is neither allowed nor excepted, and for each exception that nothing needs.
fn check(found: &[(String, String)], exceptions: &[(&str, &str, &str)]) {
    let excepted = |file: &str, module: &str| exceptions.iter().any(|(f, m, _)| *f == file && *m == module);
    let wrong: Vec<_> = found.iter().filter(|(file, module)| !excepted(file, module)).collect();
    assert!(wrong.is_empty(), "file and what it must not use: {wrong:#?}");
    let needed =
        |(file, module, _): &&(&str, &str, &str)| found.iter().any(|(f, m)| f == file && m == module);
    let idle: Vec<_> = exceptions.iter().filter(|exception| !needed(exception)).collect();
    assert!(idle.is_empty(), "exceptions that nothing needs: {idle:#?}");
}

#[test]
fn modules_use_only_what_stands_below_them() {
    let sources = sources();
    let uses = uses(&sources);
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !source.is_binary() && source.file != "lib.rs") {
        let module = source.module();
        let own = area(&module);
        let arrows = ARROWS.iter().find(|(from, _)| *from == own);
        let (_, allowed) = arrows.unwrap_or_else(|| panic!("no arrows for {}", source.file));
        for used in &uses[source.file.as_str()] {
            if area(used) != own && !allowed.iter().any(|allowed| is_below(used, allowed)) {
                found.push((source.file.clone(), used.clone()));
            }
        }
    }
    check(&found, AGAINST_ARROWS);
}

#[test]
fn the_arrows_form_no_circle() {
    let mut left: BTreeSet<_> = ARROWS.iter().map(|(from, _)| *from).collect();
    // Slots, the slot map and its publication are values; what they are made by is `cluster`.
    let is_value =
        |module: &str| matches!(module, "cluster::slot" | "cluster::slot_map" | "cluster::published");
    while !left.is_empty() {
        let lowest = left.iter().copied().find(|from| {
            let (_, uses) = ARROWS.iter().find(|(other, _)| other == from).expect("an area");
            uses.iter().all(|used| is_value(used) || !left.contains(area(used)) || area(used) == *from)
        });
        let lowest = lowest.unwrap_or_else(|| panic!("a circle in {left:?}"));
        left.remove(lowest);
    }
}

#[test]
fn pure_files_use_no_io_file() {
    let sources = sources();
    let io: BTreeSet<_> = sources.iter().filter(|source| source.is_io).map(Source::module).collect();
    let uses = uses(&sources);
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !source.is_io && !source.is_binary()) {
        let used = uses[source.file.as_str()].iter().filter(|used| io.contains(*used));
        found.extend(used.map(|used| (source.file.clone(), used.clone())));
    }
    check(&found, PURE_ON_IO);
}

#[test]
fn exactly_the_io_files_opt_out_of_the_bans() {
    for source in sources() {
        let excused = IO_WITHOUT_OPT_OUT.iter().any(|(file, _)| *file == source.file);
        assert!(source.is_io || !source.opts_out, "{} opts out and is not marked ◆", source.file);
        assert!(
            source.opts_out || !source.is_io || excused,
            "{} is marked ◆ and opts out of nothing",
            source.file
        );
    }
}

#[test]
fn only_checked_settings_leave_config() {
    let sources = sources();
    for (file, used) in uses(&sources) {
        let is_binary = ["main.rs", "cli.rs"].contains(&file) || file.starts_with("dev/");
        for module in used.iter().filter(|module| area(module) == "config" && !file.starts_with("config/")) {
            // The command line adds its flags to what is written, and tells the mistakes.
            let is_command_line =
                is_binary && ["config::written", "config::error"].contains(&module.as_str());
            assert!(SEEN_OF_CONFIG.contains(&module.as_str()) || is_command_line, "{file} sees {module}");
        }
    }
}

#[test]
fn only_the_binary_uses_the_server_and_only_the_server_the_admin_port() {
    let sources = sources();
    for (file, used) in uses(&sources) {
        let is_main = ["main.rs", "cli.rs"].contains(&file) || file.starts_with("dev/");
        let allows_admin = is_main || file.starts_with("server/") || file.starts_with("admin/");
        assert!(is_main || !used.contains("server"), "{file} uses the server");
        assert!(allows_admin || !used.iter().any(|used| area(used) == "admin"), "{file} uses the admin port");
    }
}

#[test]
fn the_map_of_modules_names_every_file_with_its_mark() {
    let map = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md"));
    let map = map.expect("ARCHITECTURE.md stands beside src");
    // Rows are: | `client/task.rs` ◆ | one sentence |
    let rows = map.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(".rs`"));
    let listed: BTreeSet<_> = rows
        .filter(|(file, _)| !file.contains(' '))
        .map(|(file, rest)| (format!("{file}.rs"), rest.trim_start().starts_with('◆')))
        .collect();
    let tells_itself =
        |file: &str| file.ends_with("mod.rs") && file != "dev/mod.rs" || file.contains("/tests");
    let there: BTreeSet<_> = sources()
        .into_iter()
        .filter(|source| !(tells_itself(&source.file)) || source.is_io)
        .map(|source| (source.file, source.is_io))
        .collect();
    let missing: Vec<_> = there.difference(&listed).collect();
    assert!(missing.is_empty(), "not in the map, with whether it is ◆: {missing:#?}");
    let gone: Vec<_> = listed.difference(&there).collect();
    assert!(gone.is_empty(), "in the map but not in src: {gone:#?}");
}
