//! The container file's last stage, built by a real builder and run without root, over a base made of this machine's own
//! libraries: nothing is fetched. The first stage needs a registry and is read by `units.rs` only.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;
use slotway_tests::dir::Dir;
use slotway_tests::poll::eventually;
use slotway_tests::ports::Port;
use slotway_tests::process::Process;
use slotway_tests::proxy::binary;
use slotway_tests::raw::Raw;
use slotway_tests::server::Server;

const PATIENCE: Duration = Duration::from_secs(60);

/// buildah with storage of its own.
struct Builder {
    dir: Dir,
}

impl Builder {
    /// Where it is installed and this user may use it.
    fn find() -> Option<Self> {
        let builder = Self { dir: Dir::new("container") };
        let may = rustix::process::geteuid().is_root();
        match builder.command(&["--version"]).output() {
            Ok(_) if may => return Some(builder),
            Ok(_) => println!("skipped: buildah needs root where it can't make user namespaces"),
            Err(error) => println!("skipped: buildah can't be run: {error}"),
        }
        None
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("buildah");
        command.args(["--storage-driver", "vfs", "--root"]).arg(self.path("storage"));
        command.arg("--runroot").arg(self.path("run")).args(arguments);
        command
    }

    /// What it prints.
    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("buildah runs");
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Builds without asking any registry.
    #[track_caller]
    fn build(&self, more: &[&str]) {
        let fixed = ["bud", "--isolation", "chroot", "--format", "docker", "--pull-never", "--quiet"];
        self.run(&[&fixed, more].concat());
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// An image with what the binary is linked to, as distroless has it.
fn build_base(builder: &Builder) {
    let base = builder.path("base");
    let output = Command::new("ldd").arg(binary()).output().expect("ldd");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for library in said.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = base.join("root").join(&library[1..]);
        fs::create_dir_all(to.parent().expect("a folder")).expect("writable");
        fs::copy(library, to).expect("a library");
    }
    fs::write(base.join("Dockerfile"), "FROM scratch\nCOPY root /\n").expect("writable");
    builder.build(&["--tag", "base", text(&base)]);
}

/// What the first stage would leave, and the image of it.
fn build_image(builder: &Builder) {
    let out = builder.path("built/out");
    for folder in ["usr/bin", "etc/slotway"] {
        fs::create_dir_all(out.join(folder)).expect("writable");
    }
    let program = out.join("usr/bin/slotway");
    fs::copy(binary(), &program).expect("a binary");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
    fs::copy(root().join("deploy/container/slotway.toml"), out.join("etc/slotway/slotway.toml"))
        .expect("a file");
    let file = root().join("deploy/container/Dockerfile");
    let built = format!("build={}", builder.path("built").display());
    let images = ["--build-arg", "RUN_IMAGE=localhost/base", "--build-context", &built];
    let target = ["--target", "run", "--tag", "slotway", "--file", text(&file), text(root())];
    builder.build(&[&images[..], &target[..]].concat());
}

#[test]
fn the_image_serves_without_root_and_is_asked_by_its_own_binary() {
    let Some(builder) = Builder::find() else { return };
    build_base(&builder);
    build_image(&builder);
    let of_config = |field: &str| {
        let format = format!("{{{{.Docker.Config.{field}}}}}");
        builder.run(&["inspect", "--type", "image", "--format", &format, "localhost/slotway"])
    };
    let health = of_config("Healthcheck.Test");
    assert_eq!(health, "[CMD /usr/bin/slotway health --config /etc/slotway/slotway.toml]");
    assert_eq!(
        (of_config("User"), of_config("StopSignal")),
        ("65532:65532".to_owned(), "SIGTERM".to_owned())
    );
    let container = builder.run(&["from", "--pull-never", "localhost/slotway"]);
    let run = ["run", "--isolation", "chroot", &container, "--"];
    let inside = |more: &[&str]| builder.command(&[&run[..], &["/usr/bin/slotway"], more].concat());
    let checked = inside(&["check", "/etc/slotway/slotway.toml"]).output().expect("buildah runs");
    assert!(checked.status.success(), "{}", said(&checked));
    let (server, port, admin) = (Server::start(), Port::lease(), Port::lease());
    let [addr, admin] = [&port, &admin].map(|port| format!("127.0.0.1:{}", port.number()));
    let backend = format!("redis://{}", server.addr());
    let mut serve = inside(&["run", "--standalone", &backend, "--listen", &addr, "--admin", &admin]);
    let mut process = Process::start(&mut serve, &builder.path("log"));
    eventually("it serves", PATIENCE, || {
        let reply = Raw::try_connect(&addr).ok()?.try_call(&["SET", "a", "1"]).ok()?;
        (!reply.is_error()).then_some(())
    });
    let id = eventually("the proxy's own id", PATIENCE, || proxy_below(process.id()));
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    assert!(status.contains("Uid:\t65532\t65532\t65532\t65532"), "{status}");
    let healthy = || inside(&["health", "--ready", "--admin", &admin]).status().expect("buildah runs");
    assert!(healthy().success());
    let id = rustix::process::Pid::from_raw(id).expect("an id");
    rustix::process::kill_process(id, Signal::TERM).expect("a process of ours");
    assert!(process.wait(PATIENCE).is_some_and(|status| status.success()), "{}", process.log_tail());
    assert!(!healthy().success());
    builder.run(&["rm", &container]);
}

/// The proxy among the descendants of this process.
fn proxy_below(id: u32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
    // Any thread may have started it.
    let threads = fs::read_dir(format!("/proc/{id}/task")).ok()?.flatten();
    let of_threads = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let all: Vec<String> = of_threads.chain([children]).collect();
    all.iter().flat_map(|ids| ids.split_whitespace()).filter_map(|id| id.parse().ok()).find_map(
        |child: u32| {
            let line = fs::read(format!("/proc/{child}/cmdline")).ok()?;
            if line.starts_with(b"/usr/bin/slotway\0run") {
                i32::try_from(child).ok()
            } else {
                proxy_below(child)
            }
        },
    )
}

#[test]
fn the_builder_is_sent_what_the_build_reads_and_no_more() {
    let Some(builder) = Builder::find() else { return };
    let file = builder.path("Dockerfile");
    fs::write(&file, "FROM scratch\nCOPY . /\n").expect("writable");
    builder.build(&["--tag", "sent", "--file", text(&file), text(root())]);
    let container = builder.run(&["from", "--pull-never", "localhost/sent"]);
    let sent = PathBuf::from(builder.run(&["mount", &container]));
    for wanted in [
        "Cargo.lock",
        "LICENSE-MIT",
        "proxy/src/main.rs",
        "tests/Cargo.toml",
        "deploy/container/slotway.toml",
    ] {
        assert!(sent.join(wanted).is_file(), "{wanted}");
    }
    for other in ["target", ".git", "README.md", "deploy/systemd", "tests/clients/node/node_modules"] {
        assert!(!sent.join(other).exists(), "{other}");
    }
    builder.run(&["umount", &container]);
    builder.run(&["rm", &container]);
}
