//! `slotway tenants plan` and `slotway check --live`: the plan is taken by every server, and the check finds what is not
//! as it says.

use std::process::Output;

use slotway_tests::cluster::Cluster;
use slotway_tests::proxy::run_with_file;
use slotway_tests::server::{Kind, Server};

/// Two tenants in namespaces and one with the whole cluster, each a user of its own there.
const TENANTS: &str = "
[[tenants]]
name = \"shop\"
namespace = \"shopshop\"
databases = 3
backend = { user = \"slotway-shop\", password = \"canary-shop\" }

[[tenants]]
name = \"web\"
namespace = \"webwebwe\"
placement = \"together\"
commands = \"+@all -@scripting -sort\"
backend = { user = \"slotway-web\", password = \"canary-web\" }

[[tenants]]
name = \"all\"
backend = { user = \"slotway-all\", password = \"canary-all\" }
";

fn standalone(server: &Server) -> String {
    format!("cluster.standalone = \"redis://{}\"\n{TENANTS}", server.addr())
}

/// The lines, which are all of what is printed.
fn plan(config: &str) -> Vec<String> {
    let output = run_with_file(&["tenants", "plan"], config);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(!text.contains("canary"), "{text}");
    text.lines().map(str::to_owned).collect()
}

fn apply(server: &Server, lines: &[String]) {
    let mut client = server.client();
    for line in lines {
        assert_eq!(client.cmd(line).text(), "OK", "{line}");
    }
}

/// What the check says, after it was seen to say no password and to end as it says.
#[track_caller]
fn check(config: &str) -> String {
    let Output { status, stdout, stderr } = run_with_file(&["check", "--live"], config);
    let text = String::from_utf8(stdout).expect("text") + &String::from_utf8_lossy(&stderr);
    assert!(!text.contains("canary"), "{text}");
    assert_eq!(status.code(), Some(i32::from(text.contains("PROBLEM"))), "{text}");
    text
}

/// That it says exactly one thing is wrong, in these words.
#[track_caller]
fn assert_problem(config: &str, words: &[&str]) {
    let text = check(config);
    let problems: Vec<_> = text.lines().filter(|line| line.contains("PROBLEM")).collect();
    let [problem] = problems[..] else { panic!("not one problem: {text}") };
    for word in words {
        assert!(problem.contains(word), "{word:?} is not in: {problem}");
    }
}

#[test]
fn every_server_takes_the_plan_and_is_then_as_it_says() {
    for kind in Kind::ALL {
        if !kind.is_installed() {
            continue;
        }
        let server = Server::with(kind, &[]);
        let config = standalone(&server);
        let lines = plan(&config);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(check(&config).contains("there is no user slotway-shop"));
        apply(&server, &lines);
        let text = check(&config);
        assert!(text.ends_with("\nok\n"), "{kind:?}: {text}");
        for user in ["slotway-shop", "slotway-web", "slotway-all"] {
            assert!(
                text.contains(&format!("ok, the user {user} may what the plan says")),
                "{kind:?}: {text}"
            );
        }
        // Once more: nothing is added up.
        apply(&server, &lines);
        assert!(check(&config).ends_with("\nok\n"));
    }
}

#[test]
fn the_check_says_which_right_is_missing_and_which_is_too_much() {
    let server = Server::start();
    let config = standalone(&server);
    let lines = plan(&config);
    let mut admin = server.client();
    let mut set = |words: &str| {
        apply(&server, &lines);
        assert_eq!(admin.cmd(&format!("ACL SETUSER slotway-shop {words}")).text(), "OK", "{words}");
    };
    let place = format!("{}: tenant shop: PROBLEM: ", server.addr());
    set("-hset -evalsha");
    assert_problem(&config, &[&place, "may not say what the plan gives: ", "hset", "evalsha"]);
    set("+flushall +config|get");
    assert_problem(&config, &["may say what the plan does not give: ", "flushall", "config|get"]);
    set("off");
    let text = check(&config);
    assert!(text.contains("the user slotway-shop is off") && text.contains("cannot log in: "), "{text}");
    set("nopass");
    assert_problem(&config, &["the user slotway-shop is off, or needs no password"]);
    set("&*");
    assert_problem(&config, &["channels of the user slotway-shop are \"&*\", not &shopshop:*"]);
    set("(~* +get)");
    let text = check(&config);
    assert!(text.contains("has selectors"), "{text}");
    set("resetkeys ~shopshop:*");
    let text = check(&config);
    assert!(text.contains("its own key shopshop.2:slotway-check is denied"), "{text}");
    set("~{webwebwe}:*");
    let text = check(&config);
    assert!(text.contains("the key {webwebwe}:slotway-check, not its own, is allowed"), "{text}");
    assert!(!text.contains("tenant web: PROBLEM"), "{text}");
    set("resetpass >other");
    assert_problem(&config, &[&place, "the user slotway-shop cannot log in: ", "WRONGPASS"]);
    assert_eq!(admin.cmd("ACL DELUSER slotway-shop").int(), 1);
    let text = check(&config);
    assert!(text.contains("there is no user slotway-shop: apply `slotway tenants plan`"), "{text}");
}

#[test]
fn without_the_right_to_ask_the_tenants_user_itself_tries_what_is_harmless() {
    let server = Server::start();
    let login = "user = \"proxy\"\npassword = \"canary-proxy\"\n";
    let config = format!("[cluster]\nstandalone = \"redis://{}\"\n{login}{TENANTS}", server.addr());
    let lines = plan(&config);
    apply(&server, &lines);
    let mut admin = server.client();
    assert_eq!(admin.cmd("ACL SETUSER proxy on >canary-proxy ~* &* +@all -acl").text(), "OK");
    assert_eq!(admin.cmd("SET shopshop:slotway-check 1").text(), "OK");
    let text = check(&config);
    assert!(text.contains("tenant shop: ACL DRYRUN is not the proxy's to say"), "{text}");
    assert!(text.ends_with("\nok\n"), "{text}");
    admin.cmd("ACL SETUSER slotway-shop +dbsize");
    assert_problem(&config, &["may say what the plan does not give: dbsize"]);
    admin.cmd("ACL SETUSER slotway-shop -dbsize -strlen");
    assert_problem(&config, &["may not say what the plan gives: strlen"]);
    admin.cmd("ACL SETUSER slotway-shop +strlen allkeys");
    assert!(check(&config).contains("the key slotway-check, not its own, is allowed"));
    assert_eq!(admin.cmd("GET shopshop:slotway-check").text(), "1", "nothing was written");
}

#[test]
fn of_a_cluster_every_node_is_looked_at_and_one_that_is_gone_is_told() {
    let mut cluster = Cluster::with(Kind::usual(), 3, 3);
    let seeds: Vec<_> = cluster.urls().iter().map(|url| format!("\"{url}\"")).collect();
    let config = format!("cluster.seeds = [{}]\n{TENANTS}", seeds.join(", "));
    let lines = plan(&config);
    for index in 0..cluster.len() {
        apply(cluster.node(index), &lines);
    }
    let text = check(&config);
    assert!(text.ends_with("\nok\n"), "{text}");
    for role in ["primary, ", "replica, "] {
        assert_eq!(text.matches(role).count(), 3, "{text}");
    }
    // A replica takes over one day: it has to have the user as well.
    let replica = cluster.node(4).addr();
    cluster.node(4).client().cmd("ACL SETUSER slotway-web -get");
    assert_problem(&config, &[&format!("{replica}: tenant web"), "may not say what the plan gives: get"]);
    apply(cluster.node(4), &lines);
    let gone = cluster.node(5).addr();
    cluster.node_mut(5).kill();
    let text = check(&config);
    assert!(text.contains(&format!("{gone}: PROBLEM: cannot be reached")), "{text}");
}

#[test]
fn each_cluster_is_given_and_asked_for_its_own_tenants() {
    let (main, other) = (Server::start(), Server::start());
    let tenants = TENANTS.replace("name = \"all\"\n", "name = \"all\"\ncluster = \"other\"\n");
    let second = format!("[clusters.other]\nstandalone = \"redis://{}\"\n", other.addr());
    let config = format!("cluster.standalone = \"redis://{}\"\n{second}{tenants}", main.addr());
    let of = |cluster: &str| {
        let output = run_with_file(&["tenants", "plan", "--cluster", cluster], &config);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text.lines().map(str::to_owned).collect::<Vec<_>>())
    };
    let ((_, mains), (_, others)) = (of("default"), of("other"));
    assert_eq!((mains.len(), others.len()), (2, 1), "{mains:?} {others:?}");
    assert!(others[0].starts_with("ACL SETUSER slotway-all "), "{others:?}");
    assert_eq!(of("none"), (Some(64), Vec::new()));
    apply(&main, &mains);
    let text = check(&config);
    assert!(text.contains(&format!("{}: tenant all: PROBLEM: there is no user", other.addr())), "{text}");
    assert!(!text.contains("tenant shop: PROBLEM") && !text.contains("tenant web: PROBLEM"), "{text}");
    apply(&other, &others);
    assert!(check(&config).ends_with("\nok\n"));
}
