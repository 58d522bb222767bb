//! Real clients of four ecosystems, unmodified, pointed at the proxy over a cluster.

use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use redis::{Commands, ConnectionLike, RedisResult};
use slotway_tests::cluster::Cluster;
use slotway_tests::installed::{installed, python};
use slotway_tests::proxy::Proxy;

#[test]
fn redis_py_works() {
    let Some(python) = python() else { return };
    let output = drive(Command::new(python).arg(clients().join("python/client.py")));
    assert_eq!(output.matches(": ok").count(), 6, "{output}");
}

#[test]
fn ioredis_works() {
    let Some(modules) = installed("tests/clients/node/node_modules/ioredis", "ioredis") else { return };
    let output = drive(Command::new("node").arg(modules.join("../../ioredis.js")));
    assert_eq!(output.matches(": ok").count(), 2, "{output}");
}

#[test]
fn node_redis_works() {
    let Some(modules) = installed("tests/clients/node/node_modules/redis", "node-redis") else { return };
    let output = drive(Command::new("node").arg(modules.join("../../redis.js")));
    assert_eq!(output.matches(": ok").count(), 3, "{output}");
}

#[test]
fn redis_rs_works_as_a_plain_client_in_both_protocols() -> RedisResult<()> {
    let (_cluster, proxy) = start();
    for protocol in ["", "?protocol=resp3"] {
        let client = redis::Client::open(format!("redis://{}/{protocol}", proxy.addr()))?;
        let mut connection = client.get_connection()?;
        values(&mut connection, protocol)?;
        let mut pipeline = redis::pipe();
        (0..500).for_each(|number| {
            pipeline.set(format!("rs:p:{number}"), number).ignore().get(format!("rs:p:{number}"));
        });
        let read: Vec<i32> = pipeline.query(&mut connection)?;
        assert!(read.into_iter().eq(0..500));
        let pairs: Vec<(String, u32)> = (0..200).map(|number| (format!("m:{number}"), number)).collect();
        let () = connection.mset(&pairs)?;
        let keys: Vec<&String> = pairs.iter().map(|(key, _)| key).collect();
        let read: Vec<u32> = connection.mget(&keys)?;
        assert!(read.into_iter().eq(0..200));
        let found = connection.scan_match("m:*")?.collect::<RedisResult<BTreeSet<String>>>()?;
        assert_eq!(found.len(), 200);
        let removed: usize = connection.del(&keys)?;
        assert_eq!(removed, 200);
        transactions(&mut connection)?;
    }
    Ok(())
}

#[test]
fn redis_rs_works_as_a_cluster_client() -> RedisResult<()> {
    let (_cluster, proxy) = start();
    let client = redis::cluster::ClusterClient::new(vec![format!("redis://{}", proxy.addr())])?;
    let mut connection = client.get_connection()?;
    values(&mut connection, "cluster")?;
    let mut pipeline = redis::cluster::cluster_pipe();
    (0..500).for_each(|number| {
        pipeline.set(format!("rs:cp:{number}"), number).ignore().get(format!("rs:cp:{number}"));
    });
    let read: Vec<i32> = pipeline.query(&mut connection)?;
    assert!(read.into_iter().eq(0..500));
    Ok(())
}

#[test]
fn redis_cli_works() {
    let (_cluster, proxy) = start();
    assert_eq!(cli(&proxy, &["SET", "k", "v"], ""), "OK\n");
    assert_eq!(cli(&proxy, &["-3", "GET", "k"], ""), "v\n");
    assert_eq!(cli(&proxy, &["-c", "GET", "k"], ""), "v\n");
    cli(&proxy, &["HSET", "h", "f", "v"], "");
    assert_eq!(cli(&proxy, &["-3", "--json", "HGETALL", "h"], ""), "{\"f\":\"v\"}\n");
    assert_eq!(cli(&proxy, &[], "PING\nGET k\nNOSUCH\n").lines().take(2).collect::<Vec<_>>(), ["PONG", "v"]);
    let scanned = cli(&proxy, &["--scan"], "");
    assert_eq!(scanned.lines().collect::<BTreeSet<_>>(), BTreeSet::from(["k", "h"]));
    assert_eq!(cli(&proxy, &["-r", "3", "INCR", "n"], ""), "1\n2\n3\n");
    assert_eq!(cli(&proxy, &["--eval", &script_file(), "k", ",", "arg"], ""), "k\narg\n");
    let big = cli(&proxy, &["--bigkeys"], "");
    assert!(big.contains("Sampled 3 keys"), "{big}");
}

#[test]
fn redis_cli_inserts_in_bulk() {
    let (_cluster, proxy) = start();
    let lines: String = (0..5_000).map(|number| format!("SET bulk:{number} {number}\r\n")).collect();
    let said = cli(&proxy, &["--pipe"], &lines);
    assert!(said.contains("errors: 0, replies: 5000"), "{said}");
    assert_eq!(cli(&proxy, &["DBSIZE"], ""), "5000\n");
}

/// What every connection of redis-rs has to be able to do.
fn values<C: Commands + ConnectionLike>(connection: &mut C, name: &str) -> RedisResult<()> {
    let key = |part: &str| format!("rs:{name}:{part}");
    let () = connection.set(key("s"), "v")?;
    let read: String = connection.get(key("s"))?;
    assert_eq!(read, "v");
    let count: i64 = connection.incr(key("n"), 5)?;
    assert_eq!(count, 5);
    let () = connection.hset_multiple(key("h"), &[("a", 1), ("b", 2)])?;
    let fields: HashMap<String, i32> = connection.hgetall(key("h"))?;
    assert_eq!(fields, HashMap::from([("a".into(), 1), ("b".into(), 2)]));
    let () = connection.zadd_multiple(key("z"), &[(1.0, "a"), (2.5, "b")])?;
    let pairs: Vec<(String, f64)> = connection.zrange_withscores(key("z"), 0, -1)?;
    assert_eq!(pairs, [("a".into(), 1.0), ("b".into(), 2.5)]);
    let wrong: RedisResult<i64> = connection.lpush(key("s"), 1);
    assert_eq!(wrong.expect_err("a wrong type").code(), Some("WRONGTYPE"));
    let script = redis::Script::new("return {KEYS[1], ARGV[1]}");
    let said: (String, String) = script.key(key("s")).arg("a").invoke(connection)?;
    assert_eq!(said, (key("s"), "a".into()));
    Ok(())
}

/// Transactions over keys of several slots, with and without WATCH.
fn transactions(connection: &mut redis::Connection) -> RedisResult<()> {
    let mut pipeline = redis::pipe();
    pipeline.atomic();
    (0..100).for_each(|number| {
        pipeline.set(format!("rs:t:{number}"), number).ignore().get(format!("rs:t:{number}"));
    });
    let read: Vec<i32> = pipeline.query(connection)?;
    assert!(read.into_iter().eq(0..100));
    let keys = ["rs:t:1", "rs:t:2", "rs:t:3"];
    let sum: i32 = redis::transaction(connection, &keys, |connection, pipeline| {
        let values: Vec<i32> = connection.mget(&keys)?;
        let sum = values.iter().sum::<i32>();
        keys.iter().for_each(|key| {
            pipeline.set(key, sum).ignore();
        });
        let set: Option<()> = pipeline.query(connection)?;
        Ok(set.map(|()| sum))
    })?;
    let values: Vec<i32> = connection.mget(&keys)?;
    assert_eq!((sum, values), (6, vec![6; 3]));
    Ok(())
}

fn start() -> (Cluster, Proxy) {
    let cluster = Cluster::start();
    let proxy = Proxy::over(&cluster);
    (cluster, proxy)
}

/// Runs `command` with a proxy's address in SLOTWAY_ADDR; gives what it printed.
#[track_caller]
fn drive(command: &mut Command) -> String {
    let (_cluster, proxy) = start();
    let output = command.env("SLOTWAY_ADDR", proxy.addr()).output().expect("a client that starts");
    checked(&output)
}

#[track_caller]
fn cli(proxy: &Proxy, args: &[&str], input: &str) -> String {
    let (host, port) = proxy
        .addr()
        .split_once(':')
        .map(|(host, port)| (host.to_owned(), port.to_owned()))
        .expect("host:port");
    let mut command = Command::new("redis-cli");
    command.args(["-h", &host, "-p", &port]).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("redis-cli is installed");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("redis-cli reads");
    drop(stdin);
    checked(&child.wait_with_output().expect("redis-cli ends"))
}

#[track_caller]
fn checked(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
    said
}

fn script_file() -> String {
    clients().join("echo.lua").display().to_string()
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}
