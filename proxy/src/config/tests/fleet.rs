//! Fleets: entries, and where plans are published.

use super::*;

const FLEET: &str = "[fleet]\nname = 'Redis.Example.com.'\n\
    entries = [{ id = 'a', addresses = ['192.0.2.1', '2001:db8::1'], cap = '1Gbit', listen = ['127.0.0.1:7001'] }, \
    { id = 'b', addresses = ['192.0.2.2'], cap = '500Mbit', drain = true, max_connections = 1000, host = 'b.example.com' }]\n";

#[test]
fn a_fleet_has_a_name_and_entries() {
    let fleet = settings(&format!("{SEEDS}\n{FLEET}proxy_protocol = ['127.0.0.1:7001', '127.0.0.1:6379']"));
    let fleet = fleet.fleet.expect("it is written");
    assert_eq!((fleet.name.as_str(), fleet.port), ("redis.example.com", 6379));
    let [a, b] = &fleet.entries[..] else { panic!("{:?}", fleet.entries) };
    assert_eq!((a.bytes(), a.drain, a.max_connections), (125_000_000, false, None));
    assert_eq!((b.cap, b.drain, b.max_connections), (500_000_000, true, Some(1_000)));
    assert!(fleet.expects_header("127.0.0.1:6379".parse().expect("an address")));
    assert_eq!(settings(SEEDS).fleet, None);
}

#[test]
fn an_entry_may_lead_to_a_port_for_tls_and_only_one_may() {
    // Its files are not there: that alone is told.
    let tls = "[tls]\nlisten = ['127.0.0.1:7001']\ncertificate = '/none.pem'\nkey = '/none.key'\n";
    let told = said(&format!("{SEEDS}\n{tls}{FLEET}"));
    assert!(told.contains("none.pem") && !told.contains("7001"), "{told}");
    let twice = FLEET.replace("drain = true", "listen = ['127.0.0.1:7001']");
    let told = said(&format!("{SEEDS}\n{tls}{twice}"));
    assert!(told.contains("fleet.entries.listen") && told.contains("127.0.0.1:7001"), "{told}");
}

#[test]
fn what_is_wrong_with_a_fleet_is_told() {
    let said = |text: &str| said(&format!("{SEEDS}\n{text}"));
    let both =
        errors(&format!("{SEEDS}\n[fleet]\nport = 1")).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        both,
        [
            "fleet: name is not written, must be the name that clients connect to",
            "fleet: entries is not written, must have at least one [[fleet.entries]]"
        ]
    );
    for (more, told) in [
        ("low_watermark = 90", "fleet: low_watermark is 90, must be below high_watermark, 90"),
        ("proxy_protocol = ['127.0.0.1:1']", "proxy_protocol: 127.0.0.1:1 is none of our addresses"),
        ("port = 0", "fleet.port is 0, must be a whole number from 1 to 65535"),
        ("cap = 1", "unknown key fleet.cap, known here: name, port, entries"),
    ] {
        let said = said(&format!("{FLEET}{more}"));
        assert!(said.contains(told), "{said}");
    }
    let entry = |entry: &str| said(&format!("[fleet]\nname = 'a.b'\n[[fleet.entries]]\nid = 'a'\n{entry}"));
    for (written, told) in [
        ("cap = '1Gbit'", "fleet.entries[0] must have id, addresses and cap"),
        (
            "addresses = ['192.0.2.1']\ncap = '1GiB'",
            "fleet.entries[0].cap is \"1GiB\", must be bits a second from",
        ),
        (
            "addresses = ['192.0.2.1:1']\ncap = '1Gbit'",
            "addresses[0] is \"192.0.2.1:1\", must be an IP address",
        ),
        (
            "addresses = ['192.0.2.1', '192.0.2.1']\ncap = '1Gbit'",
            "the address 192.0.2.1 stands more than once",
        ),
        (
            "addresses = ['192.0.2.1']\ncap = '1Gbit'\nlisten = ['127.0.0.1:6379']",
            "fleet.entries.listen: the address 127.0.0.1:6379 stands more than once",
        ),
    ] {
        let said = entry(written);
        assert!(said.contains(told), "{said}");
    }
}

#[test]
fn a_fleet_publishes_where_the_settings_say() {
    use crate::config::publishers::Algorithm;

    let keys = "servers = ['ns1.example.com', '[2001:db8::53]:5353']\nzone = 'Example.com.'\nkey_name = 'Slotway.'\n";
    let text = format!(
        "{SEEDS}\n{FLEET}agent_check = '127.0.0.1:7777'\n[fleet.rfc2136]\n{keys}key = 'c2VjcmV0'\n\
         algorithm = 'HMAC-SHA512'\nttl = '30s'\n[fleet.files]\ngdnsd = '/tmp/g'\n"
    );
    let publishers = settings(&text).fleet.expect("it is written").publishers;
    let update = publishers.rfc2136.expect("it is written");
    let servers: Vec<_> = update.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["ns1.example.com:53", "[2001:db8::53]:5353"]);
    assert_eq!((update.zone.as_str(), update.name.as_str()), ("example.com", "redis.example.com"));
    assert_eq!((update.key_name.as_str(), update.algorithm), ("slotway", Algorithm::HmacSha512));
    assert_eq!((update.ttl.as_secs(), update.verify_interval.as_secs()), (30, 15));
    assert_eq!(update.key_bytes().as_deref(), Some(&b"secret"[..]));
    assert_eq!(publishers.files.gdnsd.as_deref(), Some(std::path::Path::new("/tmp/g")));
    assert_eq!(publishers.agent_check.map(|address| address.port()), Some(7777));
    assert_eq!(
        settings(&format!("{SEEDS}\n{FLEET}")).fleet.map(|fleet| fleet.publishers),
        Some(Default::default())
    );
}

#[test]
fn what_is_wrong_with_a_fleets_publishers_is_told_and_the_key_never_shown() {
    let keys = "servers = ['ns1']\nzone = 'example.com'\nkey_name = 'k'\n";
    for (section, told) in [
        ("rfc2136", "zone = 'example.com'", "rfc2136: servers is not written"),
        ("rfc2136", "zone = 'example.com'", "rfc2136: key, key_file or key_env is not written"),
        ("rfc2136", &format!("{keys}key = 'no base64 at all'"), "rfc2136.key must be a key in base64"),
        (
            "rfc2136",
            &format!("{keys}key = 'c2VjcmV0'\nkey_env = 'X'"),
            "rfc2136.key and rfc2136.key_env exclude",
        ),
        ("rfc2136", &format!("{keys}key_file = '/no/such'"), "rfc2136.key_file: /no/such cannot be read"),
        (
            "rfc2136",
            &format!("{keys}key_env = 'NO_SUCH'"),
            "rfc2136.key_env: the variable NO_SUCH is not set",
        ),
        ("rfc2136", &format!("{keys}key = 'c2VjcmV0'\nname = 'a.b'"), "must be a zone that \"a.b\" is in"),
        ("rfc2136", &format!("{keys}key = 'c2VjcmV0'\nname = 'xexample.com'"), "must be a zone that"),
        ("rfc2136", &format!("{keys}key = 'c2VjcmV0'\nalgorithm = 'hmac-md5'"), "must be hmac-sha256"),
        (
            "rfc2136",
            &format!("{keys}key = 'c2VjcmV0'\nttl = '1s'"),
            "fleet.rfc2136.ttl is \"1s\", must be a duration from",
        ),
        ("files", "gdnsd = '/a/b'\ncoredns = '/a/b'", "files.gdnsd and files.coredns are the same file"),
        ("files", "gdnsd = '/'", "fleet.files.gdnsd is \"/\", must be the path of a file"),
    ]
    .map(|(section, keys, told)| (format!("[fleet.{section}]\n{keys}"), told))
    {
        let errors = errors(&format!("{SEEDS}\n{FLEET}{section}"));
        let said = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(said.contains(told), "{told}: {said}");
        assert!(!said.contains("c2VjcmV0") && !said.contains("base64 at all"), "{said}");
    }
    let said = said(&format!("{SEEDS}\n{FLEET}agent_check = '127.0.0.1:7001'"));
    assert!(said.contains("127.0.0.1:7001 stands more than once"), "{said}");
}
