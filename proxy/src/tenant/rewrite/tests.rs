use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::command::digest::Digest;
use crate::command::reviewed::Tells;
use crate::command::table::{Lookup, Table};
use crate::resp::scan::{RequestLimits, RequestScanner, Scan};
use crate::tenant::namespace::tests::{spread, together};
use crate::tenant::translation::Translation;

static TABLE: LazyLock<Table> = LazyLock::new(Table::builtin);

const LIMITS: RequestLimits =
    RequestLimits { args: 1 << 20, bulk: 64 << 20, frame: 128 << 20, value: usize::MAX };

fn frame(args: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The arguments of a frame, which is one request and canonical.
fn arguments(frame: &[u8]) -> Vec<Vec<u8>> {
    let mut scanner = RequestScanner::default();
    assert_eq!(scanner.scan(frame, &LIMITS), Ok(Scan::Request(frame.len())));
    scanner.request(frame).args_from(0).map(<[u8]>::to_vec).collect()
}

fn rewrite(asker: &Asker, args: &[&[u8]]) -> Result<(Rewriting, Vec<Vec<u8>>), Unwritable> {
    let bytes = frame(args);
    let mut scanner = RequestScanner::default();
    scanner.scan(&bytes, &LIMITS).unwrap();
    let request = scanner.request(&bytes);
    let Lookup::Found(spec) = TABLE.find(&request) else { panic!("no such command: {:?}", args[0]) };
    let mut rewriter = Rewriter::default();
    let rewriting = rewriter.rewrite(asker, spec, &request, &Names::default())?;
    if rewriting == Rewriting::Unchanged {
        return Ok((rewriting, args.iter().map(|arg| arg.to_vec()).collect()));
    }
    let written = rewriter.request();
    let scanned = arguments(written.frame());
    assert_eq!(
        written.args_from(0).map(<[u8]>::to_vec).collect::<Vec<_>>(),
        scanned,
        "argv is that of the frame"
    );
    Ok((rewriting, scanned))
}

fn line(asker: &Asker, text: &str) -> Result<String, Unwritable> {
    let args: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
    let (_, written) = rewrite(asker, &args)?;
    Ok(written.iter().map(|arg| String::from_utf8_lossy(arg)).collect::<Vec<_>>().join(" "))
}

fn in_database(database: u16) -> Asker {
    Asker { namespace: spread(), database }
}

#[test]
fn names_get_the_prefix_where_the_row_says() {
    for (text, written) in [
        ("GET k", "GET P:k"),
        ("MSET a 1 b 2", "MSET P:a 1 P:b 2"),
        ("FCALL f 2 a b c", "FCALL f 2 P:a P:b c"),
        ("FCALL f 0 a", "FCALL f 0 a"),
        ("BLPOP a b 0", "BLPOP P:a P:b 0"),
        ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", "ZUNIONSTORE P:d 2 P:a P:b WEIGHTS 1 2"),
        ("BITOP AND d a b", "BITOP AND P:d P:a P:b"),
        ("OBJECT FREQ k", "OBJECT FREQ P:k"),
        ("XREAD COUNT 1 STREAMS a b 0 0", "XREAD COUNT 1 STREAMS P:a P:b 0 0"),
        ("XREAD STREAMS a b 0", "XREAD STREAMS P:a P:b P:0"),
        (
            "XREADGROUP GROUP STREAMS STREAMS NOACK STREAMS k >",
            "XREADGROUP GROUP STREAMS STREAMS NOACK STREAMS P:k >",
        ),
        (
            "SORT k BY w_* GET # GET o_*->f LIMIT 0 5 STORE d",
            "SORT P:k BY P:w_* GET # GET P:o_*->f LIMIT 0 5 STORE P:d",
        ),
        ("SORT k BY nosort STORE a STORE b", "SORT P:k BY nosort STORE P:a STORE P:b"),
        ("GEORADIUS k 1 2 3 km STORE d", "GEORADIUS P:k 1 2 3 km STORE P:d"),
        ("COPY a b", "COPY P:a P:b"),
        ("COPY a b DB 3 REPLACE", "COPY P:a P.3:b REPLACE"),
        ("MOVE k 5", "RENAMENX P:k P.5:k"),
        ("SCAN 0", "SCAN 0 MATCH P:*"),
        ("SCAN 7 COUNT 5000 TYPE hash", "SCAN 7 COUNT 1000 TYPE hash MATCH P:*"),
        ("SCAN 7 match a* COUNT x", "SCAN 7 match P:a* COUNT x"),
        ("PUBLISH c m", "PUBLISH P:c m"),
        ("PSUBSCRIBE a* __keyspace@2__:*", "PSUBSCRIBE P:a* __keyspace@0__:P.2:*"),
        ("UNSUBSCRIBE", "UNSUBSCRIBE"),
        ("PUBSUB CHANNELS", "PUBSUB CHANNELS P:*"),
        ("PUBSUB CHANNELS a?", "PUBSUB CHANNELS P:a?"),
        ("PUBSUB NUMSUB a b", "PUBSUB NUMSUB P:a P:b"),
        ("CLIENT TRACKING ON BCAST", "CLIENT TRACKING ON BCAST PREFIX P:"),
        (
            "CLIENT TRACKING on PREFIX a BCAST PREFIX prefix",
            "CLIENT TRACKING on PREFIX P:a BCAST PREFIX P:prefix",
        ),
        ("CLIENT TRACKING ON", "CLIENT TRACKING ON"),
        ("CLIENT TRACKING OFF", "CLIENT TRACKING OFF"),
        ("CLUSTER KEYSLOT k", "CLUSTER KEYSLOT P:k"),
        ("KEYS *", "KEYS *"),
        ("PING x", "PING x"),
    ] {
        let expected = |prefix: &str| {
            written
                .replace("P", "\0")
                .replace('\0', "P")
                .replace("P:", &format!("{prefix}:"))
                .replace("P.", &format!("{prefix}."))
        };
        assert_eq!(line(&in_database(0), text).as_deref(), Ok(&*expected("k3m9x2ab")), "{text}");
        let asker = Asker { namespace: together(), database: 0 };
        assert_eq!(line(&asker, text).as_deref(), Ok(&*expected("{k3m9x2ac}")), "{text}");
    }
}

#[test]
fn scripts_get_what_shows_them_their_own_names_and_the_prefix_as_the_last_argument() {
    let asker = Asker { namespace: together(), database: 2 };
    let names = Names::default();
    let rewrite = |args: &[&[u8]]| {
        let bytes = frame(args);
        let mut scanner = RequestScanner::default();
        scanner.scan(&bytes, &LIMITS).unwrap();
        let request = scanner.request(&bytes);
        let Lookup::Found(spec) = TABLE.find(&request) else { panic!("no such command") };
        let mut rewriter = Rewriter::default();
        rewriter.rewrite(&asker, spec, &request, &names).map(|_| arguments(rewriter.request().frame()))
    };
    let own = Digest::of(b"return 1").to_string();
    for unknown in [own.as_bytes(), b"x"] {
        assert_eq!(rewrite(&[b"EVALSHA", unknown, b"0"]).unwrap()[1], [b'0'; 40]);
    }
    let said = rewrite(&[b"EVAL", b"return 1", b"1", b"k", b"a"]).unwrap();
    let body = crate::tenant::script::wrap(b"return 1");
    let expected: [&[u8]; 6] = [b"EVAL", &body, b"1", b"{k3m9x2ac}.2:k", b"a", b"{k3m9x2ac}.2:"];
    assert_eq!(said, expected);
    let called = rewrite(&[b"EVALSHA_RO", own.to_uppercase().as_bytes(), b"0"]).unwrap();
    let wrapped = Digest::of(&body).to_string();
    assert_eq!(called, [b"EVALSHA_RO", wrapped.as_bytes(), b"0", b"{k3m9x2ac}.2:"]);
    assert_eq!(rewrite(&[b"EVAL", b"x", b"2", b"k"]), Err(Unwritable::Keys(KeysError::TooMany)));
    let load: [&[u8]; 3] = [b"SCRIPT", b"LOAD", b"return 1"];
    assert_eq!(rewrite(&load).unwrap()[2], body);
}

#[test]
fn the_database_is_part_of_names_but_not_of_channels() {
    assert_eq!(line(&in_database(4), "GET k").unwrap(), "GET k3m9x2ab.4:k");
    assert_eq!(line(&in_database(4), "MOVE k 0").unwrap(), "RENAMENX k3m9x2ab.4:k k3m9x2ab:k");
    assert_eq!(line(&in_database(4), "COPY a b DB 0").unwrap(), "COPY k3m9x2ab.4:a k3m9x2ab:b");
    assert_eq!(line(&in_database(4), "PUBLISH c m").unwrap(), "PUBLISH k3m9x2ab:c m");
}

#[test]
fn what_is_not_understood_is_refused() {
    for (text, why) in [
        ("SORT k NEW STORE", Unwritable::Syntax),
        ("SORT k LIMIT 0", Unwritable::Syntax),
        ("XREAD NEW STREAMS STREAMS a 0 0", Unwritable::Syntax),
        ("SCAN 0 NEW x", Unwritable::Syntax),
        ("SCAN 0 MATCH", Unwritable::Syntax),
        ("COPY a b NEW", Unwritable::Syntax),
        ("COPY a b DB 16", Unwritable::NoDatabase),
        ("COPY a b DB x", Unwritable::NotAnInteger),
        ("MOVE k -1", Unwritable::NoDatabase),
        ("MOVE k 01", Unwritable::NotAnInteger),
        ("MOVE k 0", Unwritable::SameObject),
        ("EVAL s x k", Unwritable::Keys(KeysError::NotAnInteger)),
        ("LMPOP 0 a LEFT", Unwritable::Keys(KeysError::Negative)),
        ("SINTERCARD 9 a", Unwritable::Keys(KeysError::TooMany)),
        ("SUBSCRIBE a __key*", Unwritable::Channel(BadChannel::Reserved)),
        ("PUBLISH __keyevent@0__:del k", Unwritable::Channel(BadChannel::Reserved)),
        ("CONFIG GET *", Unwritable::Refused(Unsafe::Server)),
        ("SWAPDB 0 1", Unwritable::Refused(Unsafe::Databases)),
    ] {
        assert_eq!(line(&in_database(0), text), Err(why), "{text}");
    }
    let long = vec![b'x'; LONGEST_NAME + 1];
    assert_eq!(rewrite(&in_database(0), &[b"GET", &long]), Err(Unwritable::TooLong));
    assert_eq!(rewrite(&in_database(0), &[b"SUBSCRIBE", &long]), Err(Unwritable::TooLong));
    assert!(rewrite(&in_database(0), &[b"SET", b"k", &long]).is_ok(), "values are as long as they are");
}

#[test]
fn a_key_is_never_taken_for_an_option_nor_an_option_for_a_key() {
    let key = |text: &str| line(&in_database(0), text).unwrap();
    assert_eq!(key("SORT BY GET # STORE STORE"), "SORT k3m9x2ab:BY GET # STORE k3m9x2ab:STORE");
    assert_eq!(key("XREAD STREAMS STREAMS 0"), "XREAD STREAMS k3m9x2ab:STREAMS 0");
    assert_eq!(key("COPY DB REPLACE DB 1"), "COPY k3m9x2ab:DB k3m9x2ab.1:REPLACE");
}

/// Words that lead into every branch, and any bytes.
fn arg() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: &[&str] = &[
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
        "k",
        "k3m9x2ab:k",
        "{k3m9x2ac}:k",
    ];
    prop_oneof![
        4 => proptest::sample::select(WORDS).prop_map(|word| word.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ]
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

proptest! {
    #[test]
    fn what_is_written_is_undone_by_taking_prefixes_off(
        args in proptest::collection::vec(arg(), 0..10),
        database in 0u16..16,
        is_together: bool,
    ) {
        let namespace = if is_together { together() } else { spread() };
        let asker = Asker { namespace, database };
        let (mut rewriter, said) = (Rewriter::default(), Names::default());
        for spec in TABLE.iter() {
            let InNamespace::Served { asks, .. } = spec.in_namespace else { continue };
            let mut argv: Vec<Vec<u8>> = spec.name.split('|').map(|part| part.as_bytes().to_vec()).collect();
            let names = argv.len();
            argv.extend(args.iter().cloned());
            if !spec.takes(argv.len()) {
                continue;
            }
            let bytes = frame(&argv.iter().map(|arg| &arg[..]).collect::<Vec<_>>());
            let mut scanner = RequestScanner::default();
            scanner.scan(&bytes, &LIMITS).unwrap();
            let request = scanner.request(&bytes);
            let Ok(rewriting) = rewriter.rewrite(&asker, spec, &request, &said) else { continue };
            if rewriting == Rewriting::Unchanged {
                let keys = keys::positions(spec, &request).map(|keys| keys.len());
                prop_assert!(keys == Ok(0) || matches!(asks, Asks::Nothing | Asks::All(_) | Asks::Log), "{}", spec.name);
                continue;
            }
            let written = arguments(rewriter.request().frame());
            check_keys(&asker, &TABLE, &rewriter.request());
            if !keeps_places(asks) {
                continue;
            }
            prop_assert_eq!(written.len(), argv.len(), "{}", spec.name);
            for (index, (written, arg)) in written.iter().zip(&argv).enumerate() {
                let is_channel = matches!(asks, Asks::Channel | Asks::Channels(_) | Asks::Patterns(_));
                let back = if written == arg {
                    Some(arg.clone())
                } else if is_channel {
                    channels::incoming(&namespace, written).map(Cow::into_owned)
                } else {
                    written.strip_prefix(asker.prefix().as_bytes()).map(<[u8]>::to_vec)
                };
                prop_assert_eq!(back.as_ref(), Some(arg), "{} {}", spec.name, index);
                prop_assert!(index >= names || written == arg, "{}: its name changed", spec.name);
            }
        }
    }

    #[test]
    fn a_name_that_goes_out_comes_back(name in proptest::collection::vec(any::<u8>(), 0..20), database in 0u16..16) {
        for namespace in [spread(), together()] {
            let asker = Asker { namespace, database };
            let (_, written) = rewrite(&asker, &[b"BLPOP", &name, b"0"]).unwrap();
            let reply = frame(&[&written[1], b"value"]);
            let mut out = Vec::new();
            Translation::Of(Tells::First).apply(&namespace, &reply, &mut out);
            prop_assert_eq!(out, frame(&[&name, b"value"]));
        }
    }
}

/// Each key of what was written has the prefix of a database of the namespace, as the servers will see it.
fn check_keys(asker: &Asker, table: &Table, request: &Request<'_>) {
    let Lookup::Found(spec) = table.find(request) else { panic!("no such command") };
    let shards = spec.facts.key_specs.iter().any(crate::command::facts::FlaggedKeySpec::is_not_key);
    for index in keys::positions(spec, request).into_iter().flatten() {
        let key = request.arg(index).unwrap();
        let is_ours = asker.namespace.strip(key).is_some()
            || (shards && channels::incoming(&asker.namespace, key).is_some());
        assert!(is_ours, "{}: {}", spec.name, key.escape_ascii());
    }
}
