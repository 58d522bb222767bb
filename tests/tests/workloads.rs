//! The workloads of `tests/workloads/`, in Python, over a real cluster that loses a primary in the middle.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use slotway_tests::cluster::Cluster;
use slotway_tests::installed::python;
use slotway_tests::poll::eventually;
use slotway_tests::proxy::Proxy;
use slotway_tests::server::Kind;

/// Node timeout, election, and some: until a replica has taken over.
const TAKES_OVER: Duration = Duration::from_secs(30);

/// What programs say when half of their work is done.
const READY: &str = "ready to lose a shard";

#[test]
fn limits_tokens_and_queues_hold_while_a_shard_is_lost() {
    play_and_lose_a_shard(Kind::usual(), &["rate_limiter", "token_bucket", "inference_queue"]);
}

#[test]
fn schedules_streams_sessions_and_retrieval_hold_while_a_shard_is_lost() {
    play_and_lose_a_shard(Kind::usual(), &["scheduler", "result_streams", "sessions", "retrieval"]);
}

#[test]
fn retrieval_from_vector_sets_holds_while_a_shard_is_lost() {
    // Once is enough: it does not depend on the usual server.
    if Kind::usual() == Kind::Redis && Kind::Redis8.is_installed() {
        let tables = play_and_lose_a_shard(Kind::Redis8, &["retrieval"]);
        assert!(tables.concat().contains("in vector sets") || python().is_none(), "{tables:?}");
    }
}

/// Plays all of `names` at the same time, kills the first primary when each is in its middle, and tells them so, and
/// when a replica has taken over. Each says by its exit code whether its invariants held; gives their tables.
#[track_caller]
fn play_and_lose_a_shard(kind: Kind, names: &[&str]) -> Vec<String> {
    let Some(python) = python() else { return vec!["skipped".to_owned()] };
    let mut cluster = Cluster::with(kind, 3, 3);
    let proxy = Proxy::over(&cluster);
    let mut programs: Vec<Program> =
        names.iter().map(|name| Program::start(&python, name, &proxy, &["--lose-a-shard"])).collect();
    programs.iter_mut().for_each(Program::wait_for_middle);
    cluster.node_mut(0).kill();
    programs.iter_mut().for_each(|program| program.tell("lost"));
    eventually("a replica takes over", TAKES_OVER, || {
        (cluster.node(3).info("role")? == "master").then_some(())
    });
    programs.iter_mut().for_each(|program| program.tell("replaced"));
    programs.into_iter().map(Program::wait_for_end).collect()
}

/// A running program; killed on drop.
struct Program {
    name: String,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Program {
    #[track_caller]
    fn start(python: &Path, name: &str, proxy: &Proxy, flags: &[&str]) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads").join(format!("{name}.py"));
        let mut command = Command::new(python);
        command.arg("-B").arg(file).arg(format!("redis://{}", proxy.addr())).args(flags);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python starts");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { name: name.to_owned(), child, input, output }
    }

    /// A program that hangs ends itself after two minutes.
    #[track_caller]
    fn wait_for_middle(&mut self) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("text");
        assert_eq!(line.trim_end(), READY, "{} ended early", self.name);
    }

    #[track_caller]
    fn tell(&mut self, word: &str) {
        let told = writeln!(self.input, "{word}");
        assert!(told.is_ok(), "{}: {told:?}", self.name);
    }

    #[track_caller]
    fn wait_for_end(mut self) -> String {
        let table = self.rest();
        let status = self.child.wait().expect("a child of ours");
        println!("{table}");
        assert!(status.success(), "{}: {status}\n{table}", self.name);
        table
    }

    fn rest(&mut self) -> String {
        let mut text = String::new();
        self.output.read_to_string(&mut text).expect("text");
        text
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
