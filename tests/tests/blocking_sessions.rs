//! What a client does beside waiting: its pipeline, its database, whether it wants replies. As a plain server
//! has it.

use slotway_tests::play::Theatre;

#[test]
fn what_stands_before_and_behind_in_a_pipeline_is_answered_in_order() {
    let theatre = Theatre::both();
    theatre.compare(
        "a+ SET n 1
         a+ INCR n
         a+ BLPOP k 0
         a+ GET n
         a+ BLPOP k 0
         a+ SET n last
         a> GET n
         blocked 1
         a<
         a<
         b: GET n
         b: RPUSH k first
         a<
         a<
         blocked 1
         b: GET n
         b: SET n between
         b: RPUSH k second
         a<
         a<
         a<",
    );
    let timeouts: String = (0..20).map(|number| format!("a+ BLPOP k 0.01\na+ ECHO {number}\n")).collect();
    let reads = "a<\n".repeat(40);
    theatre.compare(&format!("{timeouts}a> PING\n{reads}a<"));
}

#[test]
fn client_reply_off_and_skip_hold_for_blocking_commands() {
    let theatre = Theatre::both();
    theatre.compare(
        "a+ CLIENT REPLY SKIP
         a+ BLPOP k 0
         a> ECHO after
         blocked 1
         b: RPUSH k x
         a<
         a+ CLIENT REPLY OFF
         a+ BLPOP k 0
         a+ SET done 1
         a+ CLIENT REPLY ON
         a> ECHO on
         blocked 1
         b: RPUSH k y
         a<
         a<
         b: LLEN k
         b: GET done",
    );
}

#[test]
fn the_selected_database_is_the_one_that_is_waited_in() {
    let theatre = Theatre::standalone();
    theatre.compare(
        "a: SELECT 3
         a> BLPOP k 0
         blocked 1
         b: RPUSH k in-zero
         b: SELECT 3
         b: RPUSH k in-three
         a<
         a: SELECT 0
         a: BLPOP k 1
         c: SELECT 7
         c> BLPOP k 0
         a> BLPOP k 0
         blocked 2
         b: SELECT 7
         b: RPUSH k in-seven
         c<
         b: SELECT 0
         b: RPUSH k zero-again
         a<",
    );
}
