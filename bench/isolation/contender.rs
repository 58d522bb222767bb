//! Who is compared: each proxy with one thread for the data, on a core of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use slotway_bench::backends::{Backends, addresses};
use slotway_bench::failure::Failure;
use slotway_bench::process::{Cores, Process, free_port};
use slotway_bench::programs::{ENVOY_REMEDY, SLOTWAY_REMEDY, TWEMPROXY_REMEDY, find, missing};
use slotway_bench::proxies::{self, READY};

use crate::options::Options;

/// A proxy that can be started.
#[derive(Debug)]
pub(crate) struct Contender {
    kind: Kind,
    program: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// A and B are two tenants.
    Slotway,
    /// Slotway that takes both for the same.
    OneTenant,
    /// Before standalone servers: it knows no cluster.
    Twemproxy,
    Envoy,
}

const KINDS: [Kind; 4] = [Kind::Slotway, Kind::OneTenant, Kind::Twemproxy, Kind::Envoy];

/// A contender that is up.
#[derive(Debug)]
pub(crate) struct Running {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Whether its clients log in.
    pub(crate) has_tenants: bool,
    /// The servers behind it, where A can be asked past it: the nodes of the cluster.
    pub(crate) nodes: Vec<SocketAddr>,
    pub(crate) process: Process,
}

impl Contender {
    /// Everyone that `options` name and that is installed, and a line for each that is not.
    pub(crate) fn choose(options: &Options) -> (Vec<Self>, Vec<String>) {
        let is_wanted =
            |kind: &Kind| options.targets.is_empty() || options.targets.iter().any(|t| t == kind.name());
        let (mut chosen, mut left_out) = (Vec::new(), Vec::new());
        for kind in KINDS.into_iter().filter(is_wanted) {
            let (program, remedy) = match kind {
                Kind::Slotway | Kind::OneTenant => (options.programs.slotway(), SLOTWAY_REMEDY),
                Kind::Twemproxy => (options.programs.nutcracker.clone(), TWEMPROXY_REMEDY),
                Kind::Envoy => (options.programs.envoy.clone(), ENVOY_REMEDY),
            };
            match find(&program) {
                Some(program) => chosen.push(Self { kind, program }),
                None => left_out.push(missing(kind.name(), &program, remedy)),
            }
        }
        (chosen, left_out)
    }

    /// What the report calls it.
    pub(crate) fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Starts it, and waits until it serves.
    pub(crate) fn start(
        &self,
        options: &Options,
        backends: &Backends,
        dir: &Path,
        stop: &AtomicBool,
    ) -> Result<Running, Failure> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let (cluster, standalone) = (addresses(&backends.cluster), addresses(&backends.standalone));
        let command = match self.kind {
            Kind::Slotway => {
                let mut command = proxies::slotway(&self.program, "--cluster", &cluster, address, 1);
                let file = dir.join("tenants.toml");
                fs::write(&file, tenants(&options.weights)).map_err(Failure::io("writing tenants.toml"))?;
                command.arg("--config").arg(file);
                command
            }
            Kind::OneTenant => proxies::slotway(&self.program, "--cluster", &cluster, address, 1),
            Kind::Twemproxy => proxies::twemproxy(&self.program, &standalone, false, address, dir)?,
            Kind::Envoy => proxies::envoy(&self.program, &cluster, address, dir)?,
        };
        let mut process = Process::start(self.name(), command, dir, Cores::First)?;
        process.wait_ready(READY, stop, || proxies::serves(address))?;
        let has_tenants = self.kind == Kind::Slotway;
        Ok(Running { address, has_tenants, nodes: if has_tenants { cluster } else { Vec::new() }, process })
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Slotway => "slotway",
            Self::OneTenant => "one-tenant",
            Self::Twemproxy => "twemproxy",
            Self::Envoy => "envoy",
        }
    }
}

/// Tenants `a` and `b`, and whoever asks whether the proxy serves.
fn tenants(weights: &[u16]) -> String {
    let tenant = |(name, weight): (&str, &u16)| {
        format!(
            "[[tenants]]\nname = \"{name}\"\nweight = {weight}\n[[tenants.users]]\nname = \"{name}\"\n\
             passwords_sha256 = [\"2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\"]\n"
        )
    };
    let both: String = ["a", "b"].into_iter().zip(weights).map(tenant).collect();
    format!("[[users]]\nnopass = true\n{both}")
}
