//! ◆ The nodes: server processes with a folder each, all in one temporary folder. Dropping them ends them.
#![expect(clippy::disallowed_methods, reason = "I/O: waits for processes and bounds the wait")]

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::connection::Connection;
use super::error::DevError;
use super::program::Program;

/// How long a node may take to answer its first PING.
const UP_TIMEOUT: Duration = Duration::from_secs(20);

/// How much of a dead node's log is shown.
const LOG_LINES: usize = 5;

/// All nodes. The processes stand before the folder: they are dropped, and so killed, first.
pub(super) struct Nodes {
    nodes: Vec<Node>,
    folder: Folder,
    program: PathBuf,
    /// See [`Program::tied`].
    tied: &'static [&'static str],
    /// What they run: `redis-server 7.0.15`.
    pub(super) title: String,
}

struct Node {
    port: u16,
    process: Child,
    log: PathBuf,
}

/// A temporary folder, removed with all that is in it when dropped.
struct Folder(PathBuf);

impl Nodes {
    /// No node yet, but a folder for them.
    pub(super) fn new(program: &Program) -> Result<Self, DevError> {
        Ok(Self {
            nodes: Vec::new(),
            folder: Folder::new()?,
            program: program.path.clone(),
            tied: program.tied,
            title: program.title.clone(),
        })
    }

    /// Starts a node at `port`, in cluster mode, keeping nothing on disk.
    pub(super) fn start(&mut self, port: u16) -> Result<(), DevError> {
        let folder = self.folder.0.join(port.to_string());
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| DevError::Folder { path, source }
        };
        fs::create_dir(&folder).map_err(failed(&folder))?;
        let log = folder.join("server.log");
        let output = File::create(&log).map_err(failed(&log))?;
        let process = self.command(port, &folder, output).map_err(failed(&log))?.spawn();
        let process = process.map_err(|error| DevError::BadServer {
            program: self.program.clone(),
            reason: error.to_string(),
        })?;
        self.nodes.push(Node { port, process, log });
        Ok(())
    }

    fn command(&self, port: u16, folder: &Path, output: File) -> io::Result<Command> {
        let mut words = self.tied.iter().map(AsRef::as_ref).chain([self.program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command
            .args(words)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .arg("--dir")
            .arg(folder)
            .args(["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"])
            .args(["--cluster-node-timeout", "5000"])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output)
            // Ctrl-C at the terminal is for us: the proxy must answer what is in flight while the nodes live.
            .process_group(0)
            .kill_on_drop(true);
        Ok(command)
    }

    /// Waits until every node answers.
    pub(super) async fn wait_until_up(&mut self) -> Result<(), DevError> {
        for node in &mut self.nodes {
            let server = SocketAddr::from((Ipv4Addr::LOCALHOST, node.port));
            tokio::select! {
                up = timeout(UP_TIMEOUT, Connection::open_answering(server)) => {
                    up.map_err(|_| node.failed("does not answer"))?;
                }
                _ = node.process.wait() => return Err(node.failed("ended at once")),
            }
        }
        Ok(())
    }

    /// An error when a node has ended.
    pub(super) fn check_alive(&mut self) -> Result<(), DevError> {
        for node in &mut self.nodes {
            match node.process.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => return Err(node.failed(&format!("ended ({status}), so all ends"))),
                Err(error) => return Err(DevError::System(error)),
            }
        }
        Ok(())
    }

    /// The nodes' ports.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.nodes.iter().map(|node| node.port)
    }

    /// Ends every node and removes the folder. They hold nothing worth a graceful end.
    pub(super) async fn stop(mut self) {
        for node in &mut self.nodes {
            // Fails only for one that has ended already.
            let _ = node.process.kill().await;
        }
    }
}

impl Node {
    fn failed(&self, what: &str) -> DevError {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
        let log = last.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n");
        DevError::Node { port: self.port, what: what.to_owned(), log }
    }
}

impl Folder {
    fn new() -> Result<Self, DevError> {
        let parent = std::env::temp_dir();
        // The process id alone may have been used by one that was killed and left its folder behind.
        for number in 0..100 {
            let path = parent.join(format!("slotway-dev-{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(DevError::Folder { path, source }),
            }
        }
        Err(DevError::Folder { path: parent, source: io::ErrorKind::AlreadyExists.into() })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays in the system's temporary folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}
