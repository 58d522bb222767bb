//! Requests of a client in a namespace.

use std::borrow::Cow;
use std::sync::LazyLock;

use slotway::command::facts::FlaggedKeySpec;
use slotway::command::keys;
use slotway::command::reviewed::{Asks, InNamespace};
use slotway::command::spec::Spec;
use slotway::command::table::{Lookup, Table};
use slotway::config::tenants::{NamespaceId, NamespaceSettings, Placement};
use slotway::resp::request::Request;
use slotway::resp::scan::{RequestLimits, RequestScanner, Scan};
use slotway::tenant::channels;
use slotway::tenant::namespace::Namespace;
use slotway::tenant::rewrite::{Asker, Rewriter, Rewriting};
use slotway::tenant::script::Names;

use super::wire::frame;

static TABLE: LazyLock<Table> = LazyLock::new(Table::builtin);

const LIMITS: RequestLimits =
    RequestLimits { args: 1 << 20, bulk: 64 << 20, frame: 128 << 20, value: usize::MAX };

/// What leads into the branches.
const WORDS: [&str; 24] = [
    "STORE",
    "STREAMS",
    "BLOCK",
    "KEYS",
    "GROUP",
    "LIMIT",
    "COUNT",
    "BY",
    "GET",
    "#",
    "w_*",
    "MATCH",
    "DB",
    "REPLACE",
    "PREFIX",
    "BCAST",
    "ON",
    "0",
    "1",
    "2",
    "-1",
    "99",
    "k3m9x2ab:k",
    "{k3m9x2ac}:k",
];

/// The first bytes choose namespace, database and command; of the others each is a word, or the length of what follows.
/// Each key that leaves has the prefix, and taking prefixes off gives what was said.
pub fn rewrite(bytes: &[u8]) {
    let [how, high, low, rest @ ..] = bytes else { return };
    let (id, placement) =
        if how & 1 == 0 { ("k3m9x2ab", Placement::Spread) } else { ("k3m9x2ac", Placement::Together) };
    let Some(id) = NamespaceId::parse(id) else { return };
    let namespace = Namespace::new(NamespaceSettings { id, placement, databases: 16 });
    let asker = Asker { namespace, database: u16::from(how >> 4) };
    let command = usize::from(u16::from_be_bytes([*high, *low])) % TABLE.iter().len();
    let Some(spec) = TABLE.iter().nth(command) else { return };
    let InNamespace::Served { asks, .. } = spec.in_namespace else { return };
    let mut argv: Vec<&[u8]> = spec.name.split('|').map(str::as_bytes).collect();
    let names = argv.len();
    argv.extend(arguments(rest));
    if !spec.takes(argv.len()) {
        return;
    }
    let bytes = frame(&argv);
    let mut scanner = RequestScanner::default();
    assert_eq!(scanner.scan(&bytes, &LIMITS), Ok(Scan::Request(bytes.len())));
    let request = scanner.request(&bytes);
    let mut rewriter = Rewriter::default();
    let Ok(rewriting) = rewriter.rewrite(&asker, spec, &request, &Names::default()) else { return };
    if rewriting == Rewriting::Unchanged {
        let keys = keys::positions(spec, &request).map(|keys| keys.len());
        assert!(keys == Ok(0) || matches!(asks, Asks::Nothing | Asks::All(_)), "{}", spec.name);
        return;
    }
    let written = rewriter.request();
    let mut scanner = RequestScanner::default();
    assert_eq!(scanner.scan(written.frame(), &LIMITS), Ok(Scan::Request(written.frame().len())));
    check_keys(&asker, &written);
    if keeps_places(asks) {
        check_places(&asker, (spec, asks), (&argv, names), &written);
    }
}

fn arguments(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut args = Vec::new();
    while let Some((first, rest)) = bytes.split_first() {
        let number = usize::from(*first);
        if number >= 128 {
            args.push(WORDS[number % WORDS.len()].as_bytes());
            bytes = rest;
        } else {
            let (arg, rest) = rest.split_at(rest.len().min(number % 32));
            args.push(arg);
            bytes = rest;
        }
    }
    args
}

/// Whether a row's arguments keep their places.
fn keeps_places(asks: Asks) -> bool {
    !matches!(
        asks,
        Asks::Copy
            | Asks::Move
            | Asks::Scan
            | Asks::OnePattern
            | Asks::Prefixes
            | Asks::Body
            | Asks::Called
            | Asks::Load
    )
}

fn check_places(
    asker: &Asker,
    (spec, asks): (&Spec, Asks),
    (argv, names): (&[&[u8]], usize),
    written: &Request<'_>,
) {
    let is_channel = matches!(asks, Asks::Channel | Asks::Channels(_) | Asks::Patterns(_));
    assert_eq!(written.args_from(0).count(), argv.len(), "{}", spec.name);
    for (index, (written, arg)) in written.args_from(0).zip(argv).enumerate() {
        let back = if written == *arg {
            Some(Cow::Borrowed(*arg))
        } else if is_channel {
            channels::incoming(&asker.namespace, written)
        } else {
            written.strip_prefix(asker.prefix().as_bytes()).map(Cow::Borrowed)
        };
        assert_eq!(back.as_deref(), Some(*arg), "{} {index}", spec.name);
        assert!(index >= names || written == *arg, "{}: its name changed", spec.name);
    }
}

/// Each key of what was written has the prefix of a database of the namespace, as the servers will see it.
fn check_keys(asker: &Asker, request: &Request<'_>) {
    let Lookup::Found(spec) = TABLE.find(request) else { panic!("no such command") };
    let is_channel = spec.facts.key_specs.iter().any(FlaggedKeySpec::is_not_key);
    for index in keys::positions(spec, request).into_iter().flatten() {
        let key = request.arg(index).expect("a key is an argument");
        let is_ours = asker.namespace.strip(key).is_some()
            || (is_channel && channels::incoming(&asker.namespace, key).is_some());
        assert!(is_ours, "{}: {}", spec.name, key.escape_ascii());
    }
}
