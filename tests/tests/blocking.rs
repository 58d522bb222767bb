//! Blocking commands answer as a plain server's: what is there already, what comes later, what never comes,
//! what is wrong; in both protocols, over one server and over a cluster.

use slotway_tests::play::Theatre;
use slotway_tests::value::Value;

/// A blocking command with `T` for its timeout in seconds or `M` in milliseconds; what has to be there
/// before (may be nothing); what brings an element.
const COMMANDS: [(&str, &str, &str); 18] = [
    ("BLPOP k T", "", "RPUSH k x y"),
    ("BRPOP k T", "", "RPUSH k x y"),
    ("BRPOPLPUSH {q}k {q}d T", "", "RPUSH {q}k x y"),
    ("BLMOVE {q}k {q}d LEFT RIGHT T", "", "RPUSH {q}k x y"),
    ("BLMOVE {q}k {q}k RIGHT LEFT T", "", "RPUSH {q}k x y"),
    ("BLMPOP T 1 k LEFT", "", "RPUSH k x y"),
    ("BLMPOP T 2 {q}none {q}k RIGHT COUNT 5", "", "RPUSH {q}k x y z"),
    ("BZPOPMIN k T", "", "ZADD k 1 a 2.5 b"),
    ("BZPOPMAX k T", "", "ZADD k 1 a 2.5 b"),
    ("BZPOPMIN {q}none {q}k T", "", "ZADD {q}k 0.1 a"),
    ("BZMPOP T 1 k MIN", "", "ZADD k 1 a 2.5 b"),
    ("BZMPOP T 2 {q}none {q}k MAX COUNT 5", "", "ZADD {q}k -inf a 2.5 b"),
    ("XREAD BLOCK M STREAMS k 0", "", "XADD k 1-1 f v"),
    ("XREAD COUNT 1 BLOCK M STREAMS {q}none {q}k 0 0", "", "XADD {q}k 1-1 f v"),
    ("XREAD BLOCK M STREAMS k 1-1", "XADD k 1-1 f v", "XADD k 2-1 f v"),
    ("XREAD BLOCK M STREAMS k $", "XADD k 1-1 f v", "XADD k 2-1 f v"),
    ("XREADGROUP GROUP g c BLOCK M STREAMS k >", "XGROUP CREATE k g $ MKSTREAM", "XADD k 1-1 f v"),
    (
        "XREADGROUP GROUP g c COUNT 1 BLOCK M NOACK STREAMS k >",
        "XGROUP CREATE k g $ MKSTREAM",
        "XADD k 1-1 f v",
    ),
];

/// `command` with `seconds` and `milliseconds` put in.
fn timed(command: &str, seconds: &str, milliseconds: &str) -> String {
    let put = |word| match word {
        "T" => seconds,
        "M" => milliseconds,
        other => other,
    };
    command.split(' ').map(put).collect::<Vec<_>>().join(" ")
}

fn prepared(line: &str) -> String {
    if line.is_empty() { String::new() } else { format!("b: {line}") }
}

#[test]
fn what_is_there_is_taken_at_once_what_comes_later_is_waited_for_and_what_never_comes_is_nil() {
    let theatre = Theatre::both();
    for (command, before, push) in COMMANDS {
        let (before, brief) = (prepared(before), timed(command, "0.05", "50"));
        let there = format!("{before}\nb: {push}\na: {brief}\na: {brief}\na: {brief}\na: PING");
        theatre.compare(&there);
        for (seconds, milliseconds) in [("0", "0"), ("30.5", "30500")] {
            let command = timed(command, seconds, milliseconds);
            theatre.compare(&format!("{before}\na> {command}\nblocked 1\nb: {push}\na<\na: PING\nblocked 0"));
        }
        let nil = theatre.compare(&format!("{before}\na: {brief}\na: {}", brief.to_lowercase()));
        assert!(nil.last().is_some_and(|line| line.contains("-1") || line.contains("_\\r")), "{nil:?}");
    }
}

#[test]
fn what_is_wrong_is_refused_in_the_servers_words() {
    let theatre = Theatre::both();
    let wrong = [
        "BLPOP k -1",
        "BLPOP k -0.5",
        "BLPOP k abc",
        "BLPOP k inf",
        "BLPOP k nan",
        "BLPOP k \"\"",
        "BLPOP k 1e400",
        "BLPOP k 99999999999999999999",
        "BLPOP k",
        "BLPOP",
        "BLPOP s 1",
        "BRPOP s 1",
        "BLPOP {s}none {s} 0.05",
        "BRPOPLPUSH s s 1",
        "BRPOPLPUSH a",
        "BLMOVE k k LEFT UP 1",
        "BLMOVE k k LEFT RIGHT -1",
        "BLMOVE k k LEFT RIGHT",
        "BLMPOP -1 1 k LEFT",
        "BLMPOP 1 0 k LEFT",
        "BLMPOP 1 1 k UP",
        "BLMPOP 1 2 LEFT LEFT",
        "BLMPOP 1 x k LEFT",
        "BLMPOP 1 1 k LEFT COUNT 0",
        "BLMPOP 1 1 k LEFT COUNT 1 COUNT 2",
        "BLMPOP 1 1 s LEFT",
        "BZPOPMIN s 1",
        "BZPOPMIN k -1",
        "BZPOPMAX k x",
        "BZMPOP 1 1 k LEFT",
        "BZMPOP x 1 k MIN",
        "BZMPOP 1 -1 k MIN",
        "XREAD BLOCK -1 STREAMS k 0",
        "XREAD BLOCK x STREAMS k 0",
        "XREAD BLOCK 1.5 STREAMS k 0",
        "XREAD BLOCK 10 STREAMS k",
        "XREAD BLOCK 10 STREAMS {q}a {q}b 0",
        "XREAD BLOCK 10 STREAMS s 0",
        "XREAD BLOCK 10 STREAMS k bad",
        "XREAD BLOCK 10 STREAMS k >",
        "XREAD BLOCK",
        "XREAD BLOCK 10",
        "XREAD BLOCK 10 STREAMS",
        "XREADGROUP GROUP g c BLOCK 10 STREAMS k >",
        "XREADGROUP GROUP g c BLOCK -2 STREAMS k >",
        "XREADGROUP BLOCK 10 STREAMS k >",
        "XREADGROUP GROUP g c BLOCK 10 STREAMS s >",
        "XREADGROUP GROUP g c BLOCK 10 STREAMS k $",
    ];
    let script: String = wrong.map(|line| format!("a: {line}\n")).concat();
    theatre.compare(&format!("b: SET s text\nb: SET {{s}} text\n{script}a: PING"));
}

#[test]
fn a_destination_of_another_type_is_told_when_the_element_comes_and_the_element_stays() {
    let theatre = Theatre::both();
    theatre.compare(
        "b: SET {q}d text
         a> BRPOPLPUSH {q}k {q}d 0
         blocked 1
         b: RPUSH {q}k x
         a<
         b: LRANGE {q}k 0 -1
         a: BLMOVE {q}k {q}d LEFT LEFT 0
         b: LRANGE {q}k 0 -1",
    );
}

#[test]
fn a_key_that_becomes_another_or_vanishes_is_told_as_a_plain_server_tells_it() {
    let theatre = Theatre::both();
    for change in ["DEL k", "SET k text", "RENAME k {k}moved", "EXPIRE k -1", "XGROUP DESTROY k g"] {
        theatre.compare(&format!(
            "b: XGROUP CREATE k g $ MKSTREAM
             a> XREADGROUP GROUP g c BLOCK 0 STREAMS k >
             blocked 1
             b: {change}
             a<
             a: PING
             blocked 0"
        ));
    }
    // Who waits for a list waits on, whatever else is put there.
    theatre.compare(
        "a> BLPOP k 0
         blocked 1
         b: SET k text
         b: DEL k
         b: RPUSH {k}2 x
         b: RENAME {k}2 k
         a<",
    );
}

#[test]
fn an_option_is_one_only_in_its_place_and_in_any_case() {
    let theatre = Theatre::both();
    for push in ["XADD block 1-1 f v", "XADD streams 1-1 f v"] {
        let key = push.split(' ').nth(1).expect("a key");
        theatre.compare(&format!(
            "a: XREAD STREAMS {key} 0
             a: XREAD COUNT 2 STREAMS {key} 0
             a> XREAD bLoCk 0 cOuNt 2 sTrEaMs {key} 0
             blocked 1
             b: {push}
             a<
             b: XGROUP CREATE {key} block 0
             b: XGROUP CREATE {key} STREAMS 0
             a: XREADGROUP GROUP block BLOCK STREAMS {key} >
             a: XREADGROUP GROUP block STREAMS STREAMS {key} >
             a: XREADGROUP group STREAMS block count 1 streams {key} >
             a> XREADGROUP gRoUp block BLOCK block 0 streams {key} >
             blocked 1
             b: XADD {key} 2-1 f v
             a<"
        ));
    }
    // History of a consumer is never waited for, nor is an option that comes too late one.
    theatre.compare(
        "b: XGROUP CREATE k g 0 MKSTREAM
         a: XREADGROUP GROUP g c BLOCK 0 STREAMS k 0
         a: XREAD STREAMS k block
         a: XREAD STREAMS {q}a {q}b BLOCK 0
         a: XREAD BLOCK 20 BLOCK 40 STREAMS k 0
         a: XREAD BLOCK 0 BLOCK 40 COUNT 1 STREAMS k $",
    );
}

#[test]
fn inside_a_transaction_nothing_blocks() {
    let theatre = Theatre::both();
    let commands = COMMANDS.map(|(command, ..)| timed(command, "0", "0"));
    for command in commands.iter().filter(|command| !command.contains("GROUP")) {
        theatre.compare(&format!("a: MULTI\na: {command}\na: EXEC\na: PING\nblocked 0"));
    }
    theatre.compare(
        "b: RPUSH k x
         a: MULTI
         a: BLPOP k 0
         a: BLPOP k 0
         a: RPUSH k y
         a: BLPOP k 0
         a: EXEC",
    );
}

#[test]
fn the_order_of_keys_decides_and_two_that_wait_are_served_as_they_came() {
    let theatre = Theatre::both();
    theatre.compare(
        "b: RPUSH {q}2 two
         b: RPUSH {q}3 three
         a: BLPOP {q}1 {q}2 {q}3 0
         a: BLPOP {q}1 {q}2 {q}3 0
         a> BLPOP {q}1 {q}2 {q}3 0
         blocked 1
         b+ MULTI
         b+ RPUSH {q}3 third
         b+ RPUSH {q}2 second
         b: EXEC
         a<",
    );
    theatre.compare(
        "a> BLPOP k 0
         blocked 1
         b> BRPOP k 0
         blocked 2
         c> BLPOP k 0
         blocked 3
         d: RPUSH k 1 2
         a<
         b<
         d: RPUSH k 3
         c<
         blocked 0",
    );
}

#[test]
fn what_is_there_already_needs_no_connection_of_ones_own() {
    let theatre = Theatre::standalone();
    let proxy = theatre.proxy();
    let mut client = theatre.proxied().client();
    let before = ["blocking_commands", "blocking_tried_first", "private_opened", "private_connections"]
        .map(|name| proxy.metric(name));
    for number in 0..50 {
        client.cmd(&format!("RPUSH k {number}"));
        assert_eq!(client.cmd("BLPOP k 0").items()[1].text(), number.to_string());
    }
    assert_eq!(proxy.metric("blocking_commands"), before[0] + 50);
    assert_eq!(proxy.metric("blocking_tried_first"), before[1] + 50);
    assert_eq!(proxy.metric("private_opened"), before[2]);
    assert_eq!(client.cmd("BLPOP k 0.05"), Value::Nil);
    assert_eq!(proxy.metric("blocking_tried_first"), before[1] + 50);
    assert_eq!(proxy.metric("private_opened"), before[2] + 1);
}
