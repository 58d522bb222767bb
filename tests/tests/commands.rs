//! Differential: every line of the corpus answers through the proxy over a cluster, byte for byte, as a plain
//! server answers it. `corpus/README.md` says what the marks mean.

use std::fs;
use std::path::Path;

use slotway_tests::argv::words;
use slotway_tests::cluster::Cluster;
use slotway_tests::mark::Mark;
use slotway_tests::proxy::Proxy;
use slotway_tests::raw::Raw;
use slotway_tests::server::Server;
use slotway_tests::value::Value;

#[test]
fn strings_answer_as_a_plain_server() {
    compare("strings");
}

#[test]
fn hashes_answer_as_a_plain_server() {
    compare("hashes");
}

#[test]
fn lists_answer_as_a_plain_server() {
    compare("lists");
}

#[test]
fn sets_answer_as_a_plain_server() {
    compare("sets");
}

#[test]
fn sorted_sets_answer_as_a_plain_server() {
    compare("zsets");
}

#[test]
fn streams_answer_as_a_plain_server() {
    compare("streams");
}

#[test]
fn blocking_commands_answer_as_a_plain_server() {
    compare("blocking");
}

#[test]
fn transactions_answer_as_a_plain_server() {
    compare("transactions");
}

#[test]
fn geo_and_hyperloglog_answer_as_a_plain_server() {
    compare("geo_and_hyperloglog");
}

#[test]
fn bitmaps_answer_as_a_plain_server() {
    compare("bitmaps");
}

#[test]
fn generic_commands_answer_as_a_plain_server() {
    compare("generic");
}

#[test]
fn scripts_and_functions_answer_as_a_plain_server() {
    compare("scripts");
}

#[test]
fn errors_are_those_of_a_plain_server() {
    compare("errors");
}

#[test]
fn session_commands_answer_as_a_plain_server() {
    compare("session");
}

#[test]
fn keys_of_several_slots_are_refused_where_nothing_right_can_be_done() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let mut client = proxy.client();
    let refused = "CROSSSLOT Keys in request don't hash to the same slot";
    for line in [
        "EVAL \"return 1\" 2 a b",
        "FCALL_RO f 2 a b",
        "COPY a b DB 1",
        "SORT a BY w_* STORE b",
        "MSETEX 2 a 1 b 2 NX",
    ] {
        assert_eq!(client.cmd(line).error(), refused, "{line}");
    }
}

#[test]
fn a_dumped_value_is_restored_whole() {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let mut client = proxy.client();
    client.cmd("RPUSH list a b \"\\x00\\r\\n\"");
    let Value::Bulk(dump) = client.cmd("DUMP list") else { panic!("no dump") };
    assert_eq!(client.call(&[b"RESTORE".as_slice(), b"copy", b"0", &dump]).text(), "OK");
    assert_eq!(client.cmd("LRANGE copy 0 -1"), client.cmd("LRANGE list 0 -1"));
    let busy = client.call(&[b"RESTORE".as_slice(), b"copy", b"0", &dump]);
    assert!(busy.error().starts_with("BUSYKEY"), "{busy:?}");
}

fn compare(family: &str) {
    let server = Server::start();
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("corpus/{family}.txt"));
    let corpus = fs::read_to_string(path).expect("a corpus file");
    let mut differences = Vec::new();
    for protocol in [2, 3] {
        let mut plain = Raw::speaking(&server.addr(), protocol);
        let mut proxied = Raw::speaking(&proxy.addr(), protocol);
        for line in ["FLUSHALL", "SCRIPT FLUSH", "FUNCTION FLUSH"] {
            assert!(!plain.cmd(line).is_error() && !proxied.cmd(line).is_error(), "{line}");
        }
        for line in corpus.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let difference = difference(line, &mut plain, &mut proxied);
            differences.extend(difference.map(|text| format!("RESP{protocol} {line}\n{text}")));
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

fn difference(line: &str, plain: &mut Raw, proxied: &mut Raw) -> Option<String> {
    let (mark, command) = marked(line);
    let argv = words(command);
    plain.send(&argv);
    proxied.send(&argv);
    let expected = plain.read_frame();
    // A reply that the plain server gave and the proxy never does ends the test here, named.
    let got = proxied.try_frame().unwrap_or_else(|error| panic!("{line}: no reply: {error}"));
    let show = |frame: &[u8]| frame.escape_ascii().to_string();
    (!mark.agree(&expected, &got))
        .then(|| format!("    server {}\n    proxy  {}", show(&expected), show(&got)))
}

fn marked(line: &str) -> (Mark, &str) {
    let word = line.strip_prefix('[').and_then(|line| line.split_once("] "));
    let found = word.and_then(|(word, command)| Some((Mark::named(word)?, command)));
    found.unwrap_or((Mark::Exact, line))
}
