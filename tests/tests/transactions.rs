//! MULTI, EXEC, DISCARD, WATCH and UNWATCH: scripts whose every reply has to be a plain server's, in both
//! protocols, over one server and over a cluster.

use slotway_tests::cluster::Cluster;
use slotway_tests::play::Theatre;
use slotway_tests::proxy::Options;
use slotway_tests::server::Kind;
use slotway_tests::value::Value;

#[test]
fn a_transaction_is_answered_as_a_plain_server_answers_it() {
    let theatre = Theatre::both();
    for script in [
        "a: MULTI\na: EXEC\na: PING",
        "a: MULTI\na: SET k 1\na: INCR k\na: GET k\na: EXEC\na: GET k",
        "a: MULTI\na: SET k 1\na: DISCARD\na: GET k\na: EXEC",
        "a: EXEC\na: DISCARD\na: PING",
        "a: MULTI x\na: PING\na: MULTI\na: EXEC x\na: SET k 1\na: EXEC",
        "a: MULTI\na: DISCARD x\na: SET k 1\na: EXEC\na: GET k",
        // Errors at queue time end it, whatever follows.
        "a: MULTI\na: NOSUCH x\na: SET k 1\na: EXEC\na: GET k\na: PING",
        "a: MULTI\na: SET k 1\na: GET\na: SET k 2\na: EXEC\na: GET k",
        "a: MULTI\na: GET k k k\na: DISCARD\na: MULTI\na: SET k 1\na: EXEC",
        "a: MULTI\na: CLIENT NOSUCH\na: SET k 1\na: EXEC",
        // Errors at run time do not.
        "a: SET k text\na: MULTI\na: INCR k\na: LPUSH k x\na: SET k 2\na: INCR k\na: EXEC\na: GET k",
        "a: MULTI\na: SET k 1 XX NX\na: EVAL \"return redis.error_reply('BAD x')\" 1 k\na: GET k\na: EXEC",
        // Replies of every shape.
        "a: MULTI\na: HSET {h} f v\na: HGETALL {h}\na: SADD {h}s m\na: SMEMBERS {h}s\na: ZADD {h}z 1.5 m\n\
         a: ZSCORE {h}z m\na: ZRANGE {h}z 0 -1 WITHSCORES\na: GET {h}none\na: LRANGE {h}none 0 -1\na: EXEC",
        // Queued as the servers queue it, also what needs no key.
        "a: MULTI\na: PING\na: ECHO hi\na: SET k v\na: EXEC\na: PING",
        "a: MULTI\na: SET k v\na: EVAL \"return redis.call('GET', KEYS[1])\" 1 k\na: TYPE k\na: EXEC",
        "a: MULTI\na: EXISTS {k}1 {k}2\na: MSET {k}1 1 {k}2 2\na: MGET {k}1 {k}2 {k}3\na: DEL {k}1 {k}2\na: EXEC",
        "a: MULTI\na: SET k v\na: RESET\na: EXEC\na: GET k",
        "a+ MULTI\na+ SET k 1\na+ INCR k\na+ EXEC\na+ GET k\na+ MULTI\na+ INCR k\na> EXEC\na<\na<\na<\na<\na<\na<\na<\na<",
        "a+ MULTI\na+ NOSUCH\na+ SET k 1\na+ EXEC\na> GET k\na<\na<\na<\na<\na<",
        "a: multi\na: sEt k 1\na: Exec",
    ] {
        theatre.compare(script);
    }
}

#[test]
fn what_must_not_be_within_a_transaction_is_refused_as_redis_refuses_it() {
    if Kind::usual() != Kind::Redis {
        // Valkey has other words and gives the whole transaction up; the proxy does as Redis before every server.
        println!("skipped: only Redis is compared");
        return;
    }
    let theatre = Theatre::both();
    theatre.compare("a: MULTI\na: MULTI\na: SET k 1\na: EXEC\na: GET k");
    theatre.compare("a: MULTI\na: WATCH k\na: SET k 1\na: EXEC\na: GET k");
}

#[test]
fn watch_is_as_a_plain_servers() {
    let theatre = Theatre::both();
    for script in [
        "a: WATCH k\na: MULTI\na: SET k 1\na: EXEC\na: GET k",
        "a: WATCH k\nb: SET k b\na: MULTI\na: SET k a\na: EXEC\na: GET k\na: MULTI\na: SET k a\na: EXEC",
        "a: WATCH k\na: SET k own\na: MULTI\na: GET k\na: EXEC",
        "a: SET k 1\na: WATCH k\na: GET k\nb: GET k\na: MULTI\na: INCR k\na: EXEC",
        "a: WATCH k\nb: SET k b\na: UNWATCH\na: MULTI\na: SET k a\na: EXEC",
        "a: WATCH k\nb: SET k b\na: MULTI\na: DISCARD\na: MULTI\na: SET k a\na: EXEC",
        "a: WATCH k\na: EXEC\na: MULTI\na: EXEC\nb: SET k b\na: MULTI\na: SET k a\na: EXEC",
        "a: WATCH {k}1 {k}2\na: WATCH {k}3\nb: SET {k}3 b\na: MULTI\na: SET {k}1 a\na: EXEC\na: GET {k}1",
        "a: WATCH {k}1\nb: SET {k}2 b\na: MULTI\na: SET {k}1 a\na: EXEC",
        "a: WATCH k\na: MULTI\nb: SET k b\na: SET k a\na: EXEC\na: GET k",
        "a: WATCH k\nb: DEL k\na: MULTI\na: PING\na: EXEC",
        "a: SET k v\na: WATCH k\nb: DEL k\na: MULTI\na: PING\na: EXEC",
        "a: SET k v\nb: PEXPIRE k 20\na: WATCH k\npause 60\na: MULTI\na: GET k\na: EXEC\na: GET k",
        "a: SET k v\na: PEXPIRE k 20\npause 60\na: WATCH k\na: MULTI\na: GET k\na: EXEC",
        "a: SET k v\na: WATCH k\nb: EXPIRE k 100\na: MULTI\na: GET k\na: EXEC",
        "a: WATCH k\nb: SET k b\na: MULTI\na: NOSUCH\na: EXEC\na: MULTI\na: EXEC",
        "a: UNWATCH\na: WATCH\na: UNWATCH x\na: WATCH k\na: UNWATCH\na: UNWATCH",
        "a: WATCH k\na: WATCH k\nb: SET k b\na: MULTI\na: EXEC\na: EXEC",
        "a: WATCH k\na: RESET\nb: SET k b\na: MULTI\na: SET k a\na: EXEC",
        "a: WATCH k\na: MULTI\na: UNWATCH\nb: SET k b\na: SET k a\na: EXEC",
        "a: RPUSH l 1\na: WATCH l\nb> BLPOP none 0.05\nb<\na: MULTI\na: LPOP l\na: EXEC\na: LPOP l",
        "a+ WATCH k\na+ GET k\na+ MULTI\na+ SET k a\na> EXEC\na<\na<\na<\na<\na<\na: GET k",
        // Watching and waiting in one connection.
        "a: WATCH {k}w\na> BLPOP {k}l 0\nblocked 1\nb: SET {k}w b\nb: RPUSH {k}l x\na<\na: MULTI\na: PING\na: EXEC",
    ] {
        theatre.compare(script);
    }
}

#[test]
fn databases_within_a_transaction_are_as_a_plain_servers() {
    let theatre = Theatre::standalone();
    for script in [
        "a: MULTI\na: SELECT 3\na: SET k three\na: EXEC\na: GET k\nb: GET k\nb: SELECT 3\nb: GET k",
        "a: MULTI\na: SELECT 1\na: SET k one\na: SELECT 2\na: SET k two\na: SELECT 99\na: SET k still\na: EXEC\n\
         a: GET k\na: SELECT 1\na: GET k\nb: GET k",
        "a: MULTI\na: SELECT 5\na: DISCARD\na: SET k zero\nb: GET k",
        "a: MULTI\na: SELECT 5\na: NOSUCH\na: EXEC\na: SET k zero\nb: GET k",
        "a: SELECT 4\na: MULTI\na: SET k four\na: SELECT 0\na: SET k zero\na: EXEC\na: GET k\nb: GET k\n\
         a+ SELECT 6\na+ SET k six\na+ MULTI\na+ SELECT 7\na+ SET k seven\na+ EXEC\na> GET k\n\
         a<\na<\na<\na<\na<\na<\na<\nb: SELECT 6\nb: GET k",
        "a: WATCH k\nb: SELECT 2\nb: SET k other\na: MULTI\na: SET k a\na: EXEC",
        "a: SELECT 2\na: WATCH k\nb: SET k b\na: MULTI\na: SELECT 0\na: SET k a\na: EXEC\na: GET k\nb: GET k",
        "a: SELECT 2\na: WATCH k\nb: SELECT 2\nb: SET k b\na: MULTI\na: SELECT 0\na: SET k a\na: EXEC\na: GET k",
        "a: SELECT 2\na: WATCH k\na: SELECT 0\nb: SELECT 2\nb: SET k b\na: MULTI\na: SELECT 2\na: SET k a\na: EXEC\n\
         a: GET k\na: SELECT 0\na: GET k",
        "a: WATCH k\na: SELECT 1\na: WATCH k\na: MULTI\na: SET k a\na: EXEC\na: GET k\nb: GET k",
        "a: WATCH k\na: MULTI\na: SELECT 1\na: SET k one\na: EXEC\na: GET k\nb: GET k",
        "a: MULTI\na: SELECT 9\na: RPUSH l x\na: BLPOP l 0\na: BLPOP l 0\na: EXEC\na> BLPOP l 0\nblocked 1\n\
         b: RPUSH l zero\nb: SELECT 9\nb: RPUSH l nine\na<",
    ] {
        theatre.compare(script);
    }
}

#[test]
fn where_the_settings_say_so_commands_of_several_slots_are_refused_when_they_are_queued() {
    let cluster = Cluster::start();
    let proxy = Options::cluster(&cluster.urls()).set(&["cluster.cross_slot_transactions=refuse"]).start();
    let refused = "CROSSSLOT Keys in request don't hash to the same slot";
    let (one, two) = (cluster.key_on(0, "one"), cluster.key_on(1, "two"));
    for protocol in [2, 3] {
        let mut client = slotway_tests::raw::Raw::speaking(&proxy.addr(), protocol);
        for second in [format!("SET {two} 2"), format!("MGET {one} {two}"), format!("BLPOP {one} {two} 0")] {
            assert_eq!(client.cmd("MULTI").text(), "OK");
            assert_eq!(client.cmd(&format!("SET {one} 1")).text(), "QUEUED");
            assert_eq!(client.cmd(&second).error(), refused, "{second}");
            assert_eq!(client.cmd(&format!("SET {one} 3")).text(), "QUEUED");
            let aborted = client.cmd("EXEC").error();
            assert_eq!(aborted, "EXECABORT Transaction discarded because of previous errors.");
            assert_eq!(client.cmd(&format!("GET {one}")), Value::Nil);
        }
        // As the nodes refuse them.
        assert_eq!(client.cmd("MULTI").text(), "OK");
        assert_eq!(client.cmd(&format!("DEL {one} {two}")).error(), refused);
        assert_eq!(client.cmd("DISCARD").text(), "OK");
        // Watched keys have to be where it runs, and nothing is ever run unwatched.
        assert_eq!(client.cmd(&format!("WATCH {one}")).text(), "OK");
        assert_eq!(client.cmd("MULTI").text(), "OK");
        let queued = client.cmd(&format!("SET {two} 2"));
        let executed = client.cmd("EXEC").error();
        assert!(
            executed == refused || (queued.error() == refused && executed.starts_with("EXECABORT")),
            "{queued:?}, then {executed}"
        );
        assert_eq!(client.cmd(&format!("GET {two}")), Value::Nil);
        assert_eq!(client.cmd("UNWATCH").text(), "OK");
        assert_eq!(client.cmd(&format!("SET {two} 2")).text(), "OK");
        client.cmd(&format!("DEL {two}"));
    }
}

#[test]
fn a_transaction_of_ten_thousand_commands_runs_whole() {
    const COMMANDS: usize = 10_000;
    let theatre = Theatre::both();
    for stage in theatre.stages() {
        let mut client = stage.client();
        let sent = |client: &mut slotway_tests::raw::Raw, lines: usize| {
            client.send_line("MULTI");
            let requests: Vec<u8> =
                (0..lines).flat_map(|_| slotway_tests::argv::frame(&["INCR", "{big}n"])).collect();
            client.send_bytes(&requests);
            client.send_line("EXEC");
            assert_eq!(client.read().text(), "OK");
            assert!(client.read_many(lines).iter().all(|reply| reply.text() == "QUEUED"));
            client.read()
        };
        let replies = sent(&mut client, COMMANDS);
        assert!(replies.items().iter().map(Value::int).eq(1..=COMMANDS as i64));
        // And with large values: 20 MiB in, 20 MiB out.
        let value = "v".repeat(1024 * 1024);
        client.cmd("MULTI");
        for number in 0..20 {
            assert_eq!(client.call(&["SET", &format!("{{big}}{number}"), &value]).text(), "QUEUED");
            assert_eq!(client.cmd(&format!("GET {{big}}{number}")).text(), "QUEUED");
        }
        let replies = client.cmd("EXEC");
        assert_eq!(replies.items().len(), 40);
        assert!(replies.items().chunks(2).all(|pair| pair[0].text() == "OK" && pair[1].text() == value));
        assert_eq!(client.cmd("INCR {big}n").int(), COMMANDS as i64 + 1);
    }
}
