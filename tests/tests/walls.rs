//! The second wall: what goes to the backends as a tenant's own user, and that the servers keep it there.

use std::time::Duration;

use slotway::cluster::slot::Slot;
use slotway_tests::cluster::Cluster;
use slotway_tests::poll::eventually;
use slotway_tests::ports::Port;
use slotway_tests::proxy::{Options, Proxy, plan, run_with_file};
use slotway_tests::raw::Raw;
use slotway_tests::secret::SECRET;
use slotway_tests::server::{Kind, Server};
use slotway_tests::value::Value;

/// What a user of the servers may do whose keys begin with `shop:`.
const SHOP_RIGHTS: &str = "reset on >secret ~shop:* resetchannels -@all +@read +@write +@scripting +@transaction \
                           +@blocking -@dangerous -scan -randomkey -dbsize";

/// A tenant `name` whose user at the proxy has its name, and which is `slotway-NAME` at the backends.
fn tenant(name: &str, more: &str) -> String {
    format!(
        "[[tenants]]\nname = \"{name}\"\n{more}\n\
         users = [{{ name = \"{name}\", passwords_sha256 = [\"{SECRET}\"] }}]\n"
    )
}

fn walled(name: &str, connections: &str) -> String {
    let backend = format!("backend.user = \"slotway-{name}\"\nbackend.password = \"secret\"");
    tenant(name, &format!("{backend}\nconnections = \"{connections}\""))
}

fn start(cluster: &Cluster, tenants: &[String]) -> Proxy {
    Options::cluster(&cluster.urls()).config(&tenants.concat()).start()
}

fn logged_in(proxy: &Proxy, user: &str) -> Raw {
    let mut client = proxy.client();
    assert_eq!(client.cmd(&format!("AUTH {user} secret")).text(), "OK");
    client
}

/// Makes, or changes, a user on every node.
fn set_user(cluster: &Cluster, user: &str, rights: &str) {
    for index in 0..cluster.len() {
        let set = cluster.node(index).client().cmd(&format!("ACL SETUSER {user} {rights}"));
        assert_eq!(set.text(), "OK");
    }
}

/// Connections of `user` at a server.
fn connections(server: &Server, user: &str) -> usize {
    let list = server.client().cmd("CLIENT LIST").text();
    list.lines().filter(|line| line.contains(&format!(" user={user} "))).count()
}

/// That the server's rights kept a script from something, in the words of any version.
#[track_caller]
fn assert_denied(error: &str) {
    let words = ["NOPERM", "The user executing the script can't", "ACL failure in script"];
    assert!(words.iter().any(|words| error.contains(words)), "{error}");
}

/// What INFO says to this client of a number of the proxy's.
fn metric(client: &mut Raw, name: &str) -> u64 {
    let text = client.cmd("INFO slotway").text();
    let mut rows = text.lines().filter_map(|line| line.trim().split_once(':'));
    rows.find_map(|(row, value)| (row == name).then(|| value.parse().ok())?).expect("a number of that name")
}

#[test]
fn scripts_transactions_and_watches_go_as_the_tenants_user_and_the_rest_does_not() {
    let cluster = Cluster::start();
    set_user(&cluster, "slotway-shop", SHOP_RIGHTS);
    let proxy = start(&cluster, &[walled("shop", "shared")]);
    let mut shop = logged_in(&proxy, "shop");
    assert_eq!(shop.cmd("SET elsewhere 1").text(), "OK", "the proxy's own rights");
    let all = |user| (0..3).map(|index| connections(cluster.node(index), user)).sum::<usize>();
    assert_eq!(all("slotway-shop"), 0, "nothing needed them");

    let escape = "EVAL \"return redis.call('GET', 'elsewhere')\" 1 shop:a";
    assert_denied(&shop.cmd(escape).error());
    assert_denied(&shop.cmd("EVAL \"return redis.call('GET', KEYS[1])\" 1 elsewhere").error());
    assert_denied(&shop.cmd("EVAL \"return redis.call('FLUSHALL')\" 0").error());
    assert_eq!(shop.cmd("EVAL \"return redis.call('SET', KEYS[1], 'x')\" 1 shop:a").text(), "OK");
    assert_eq!(shop.cmd("GET shop:a").text(), "x");

    shop.cmd("MULTI");
    shop.cmd("GET elsewhere");
    let refused = shop.cmd("EXEC").error();
    assert!(refused.starts_with("EXECABORT"), "{refused}");
    shop.cmd("MULTI");
    shop.cmd("GET shop:a");
    assert_eq!(shop.cmd("EXEC").items()[0].text(), "x");
    assert!(shop.cmd("WATCH elsewhere").error().starts_with("NOPERM"));
    assert_eq!(shop.cmd("WATCH shop:a").text(), "OK");
    shop.cmd("MULTI");
    shop.cmd("SET shop:a y");
    assert_eq!(shop.cmd("EXEC").items()[0].text(), "OK");
    assert_eq!(shop.cmd("GET elsewhere").text(), "1");
}

#[test]
fn with_connections_of_its_own_everything_goes_as_the_tenants_user() {
    let cluster = Cluster::start();
    set_user(&cluster, "slotway-shop", SHOP_RIGHTS);
    let proxy = start(&cluster, &[walled("shop", "own"), tenant("web", "")]);
    let (mut shop, mut web) = (logged_in(&proxy, "shop"), logged_in(&proxy, "web"));
    assert!(shop.cmd("SET elsewhere 1").error().starts_with("NOPERM"));
    assert_eq!(web.cmd("SET elsewhere 1").text(), "OK");
    assert_eq!(shop.cmd("SET shop:a 1").text(), "OK");
    assert!(shop.cmd("BLPOP elsewhere 0.05").error().starts_with("NOPERM"));
    let parked = shop.cmd("BLPOP shop:list 0.05");
    assert!(!parked.is_error(), "{parked:?}");
    for index in 0..3 {
        let key = cluster.key_on(index, "shop:b");
        assert_eq!(shop.cmd(&format!("SET {key} 1")).text(), "OK");
        assert!(connections(cluster.node(index), "slotway-shop") >= 1, "its own to each node");
    }
}

#[test]
fn a_leased_connection_is_never_another_users() {
    let cluster = Cluster::start();
    let rights = SHOP_RIGHTS.replace("~shop:*", "~*");
    set_user(&cluster, "slotway-shop", &rights);
    set_user(&cluster, "slotway-web", &rights);
    let tenants = [walled("shop", "own"), walled("web", "own"), tenant("plain", "")];
    let proxy = Options::cluster(&cluster.urls()).config(&tenants.concat()).flag("--threads", "1").start();
    let key = cluster.key_on(0, "list");
    let users = |name: &str| connections(cluster.node(0), name);
    for round in 0..3 {
        for name in ["shop", "web", "plain"] {
            let mut client = logged_in(&proxy, name);
            let given = client.cmd(&format!("BLPOP {key} 0.02"));
            assert!(!given.is_error(), "{name} in round {round}: {given:?}");
        }
    }
    // A shared one and a private one, which the second and third round used again.
    assert_eq!((users("slotway-shop"), users("slotway-web")), (2, 2));
    assert!(metric(&mut logged_in(&proxy, "plain"), "private_reused") >= 6);
}

#[test]
fn order_is_kept_where_requests_change_their_connections() {
    let cluster = Cluster::start();
    set_user(&cluster, "slotway-shop", SHOP_RIGHTS);
    let proxy = start(&cluster, &[walled("shop", "shared")]);
    let mut shop = logged_in(&proxy, "shop");
    const ROUNDS: usize = 200;
    for round in 0..ROUNDS {
        let key = format!("shop:{}", round % 7);
        shop.send_line(&format!("SET {key} {round}"));
        shop.send_line(&format!("EVAL \"return redis.call('INCRBY', KEYS[1], 1000)\" 1 {key}"));
        shop.send_line(&format!("GET {key}"));
        shop.send_line("MULTI");
        shop.send_line(&format!("INCR {key}"));
        shop.send_line("EXEC");
        shop.send_line(&format!("GET {key}"));
    }
    for round in 0..ROUNDS {
        let replies = shop.read_many(7);
        let after = (round + 1_000) as i64;
        assert_eq!(replies[0].text(), "OK");
        assert_eq!(replies[1].int(), after, "the script saw what was set before");
        assert_eq!(replies[2].text(), after.to_string(), "and what it did is seen behind it");
        assert_eq!(replies[5].items()[0].int(), after + 1);
        assert_eq!(replies[6].text(), (after + 1).to_string());
    }
}

#[test]
fn a_wrong_backend_login_is_one_tenants_trouble_and_ends_when_it_is_mended() {
    let cluster = Cluster::start();
    let tenants = [walled("shop", "shared"), walled("web", "own"), tenant("plain", "")];
    let proxy = start(&cluster, &tenants);
    let (mut shop, mut web, mut plain) =
        (logged_in(&proxy, "shop"), logged_in(&proxy, "web"), logged_in(&proxy, "plain"));
    let refused = "ERR slotway: the backend refuses the tenant's user or its password";
    for _ in 0..3 {
        assert_eq!(web.cmd("GET a").error(), refused);
        assert_eq!(shop.cmd("EVAL 'return 1' 1 a").error(), refused);
        assert_eq!(shop.cmd("WATCH a").error(), refused);
        assert_eq!(shop.cmd("SET a 1").text(), "OK", "what needs no wall goes on");
        assert_eq!(plain.cmd("EVAL 'return 1' 1 a").int(), 1);
        assert_eq!(plain.cmd("WATCH a").text(), "OK");
    }
    assert!(metric(&mut plain, "backend_logins_refused") > 0);
    let log = proxy.process().log_tail();
    assert_eq!(log.matches("backend.user=\"slotway-web\"").count(), 1, "{log}");
    assert!(!log.contains("secret"));
    set_user(&cluster, "slotway-shop", SHOP_RIGHTS);
    eventually("the user is let in", Duration::from_secs(10), || {
        let reply = shop.cmd("EVAL 'return 1' 1 shop:a");
        (!reply.is_error()).then_some(())
    });
    assert_eq!(shop.cmd("WATCH shop:a").text(), "OK");
}

#[test]
fn a_namespace_without_a_wall_has_no_scripts() {
    let cluster = Cluster::start();
    let proxy = start(&cluster, &[tenant("shop", "namespace = \"k3m9x2ab\"")]);
    let mut shop = logged_in(&proxy, "shop");
    let refused = "NOPERM slotway: 'eval' needs a backend user of the tenant, which has none";
    assert_eq!(shop.cmd("EVAL 'return 1' 1 a").error(), refused);
    for line in ["EVALSHA 0000 1 a", "FCALL f 1 a", "SCRIPT LOAD 'return 1'", "FUNCTION LIST"] {
        assert!(shop.cmd(line).is_error(), "{line}");
    }
    shop.cmd("MULTI");
    assert_eq!(shop.cmd("SET a 1").text(), "QUEUED");
    assert_eq!(shop.cmd("EVAL 'return 1' 1 a").error(), refused);
    assert!(shop.cmd("EXEC").error().starts_with("EXECABORT"));
    shop.cmd("MULTI");
    shop.cmd("SET a 1");
    assert_eq!(shop.cmd("EXEC").items()[0].text(), "OK", "no script, no escape");
}

/// Two tenants in namespaces, whose rights every node has by the plan, and a proxy that serves them.
fn start_by_plan(cluster: &Cluster, more: &str) -> Proxy {
    let tenants = ["shop", "web"].map(|name| walled(name, more));
    let tenants = [
        tenants[0].replace("name = \"shop\"\n", "name = \"shop\"\nnamespace = \"shopshop\"\ndatabases = 3\n"),
        tenants[1].replace(
            "name = \"web\"\n",
            "name = \"web\"\nnamespace = \"webwebwe\"\nplacement = \"together\"\n",
        ),
    ]
    .concat();
    let seeds = format!("cluster.seeds = [\"{}\"]\n", cluster.urls().join("\", \""));
    let config = seeds + &tenants;
    let lines = plan(&tenants);
    assert_eq!(lines.len(), 2);
    for index in 0..cluster.len() {
        let mut client = cluster.node(index).client();
        lines.iter().for_each(|line| assert_eq!(client.cmd(line).text(), "OK"));
    }
    let checked = run_with_file(&["check", "--live"], &config);
    assert!(checked.status.success(), "{checked:?}");
    Options::cluster(&cluster.urls()).config(&tenants).start()
}

/// A client's whole day in a namespace: what it says of its own is answered, what it says of others is not.
fn live_in_a_namespace(client: &mut Raw, other: &str) {
    assert_eq!(client.cmd("EVAL \"return redis.call('SET', KEYS[1], ARGV[1])\" 1 a 1").text(), "OK");
    assert_eq!(client.cmd("GET a").text(), "1");
    // Past what the proxy puts in front of scripts.
    for name in [other, "a", "elsewhere"] {
        assert_denied(&client.cmd(&format!("EVAL \"return _G.redis.call('GET', '{name}')\" 1 a")).error());
    }
    for call in ["'KEYS', '*'", "'SCAN', '0'", "'RANDOMKEY'", "'DBSIZE'", "'FLUSHALL'"] {
        assert_denied(&client.cmd(&format!("EVAL \"return _G.redis.call({call})\" 1 a")).error());
    }
    let sha = client.cmd("SCRIPT LOAD 'return redis.call(\"INCR\", KEYS[1])'").text();
    assert_eq!(client.cmd(&format!("EVALSHA {sha} 1 a")).int(), 2);
    client.cmd("MULTI");
    client.cmd("INCR a");
    client.cmd(&format!("EVALSHA {sha} 1 a"));
    client.cmd("PUBLISH news 1");
    client.cmd("PING");
    let done = client.cmd("EXEC");
    assert_eq!(done.items()[..3].iter().map(Value::int).collect::<Vec<_>>(), [3, 4, 0], "{done:?}");
    assert_eq!(client.cmd("WATCH a").text(), "OK");
    client.cmd("MULTI");
    client.cmd("DEL a");
    assert_eq!(client.cmd("EXEC").items()[0].int(), 1);
    assert_eq!(client.cmd("BLPOP list 0.02"), Value::Nil);
    // In several slots, where the namespace is spread: a plan with scripts and temporary keys of the proxy's.
    client.cmd("MSET one 1 two 2 three 3");
    assert_eq!(client.cmd("RENAME one four").text(), "OK");
    assert_eq!(client.cmd("MGET two four").items()[1].text(), "1");
    client.cmd("SADD s1 a b");
    client.cmd("SADD s2 b c");
    assert_eq!(client.cmd("SINTERSTORE s3 s1 s2").int(), 1);
    client.cmd("MULTI");
    client.cmd("SET two 22");
    client.cmd("SET three 33");
    assert_eq!(client.cmd("EXEC").items().len(), 2);
    assert_eq!(client.cmd("DBSIZE").int(), 6, "s1 s2 s3 two three four");
    assert_eq!(client.cmd("KEYS *").items().len(), 6);
    assert_eq!(client.cmd("FLUSHDB").text(), "OK");
    assert_eq!(client.cmd("DBSIZE").int(), 0);
}

#[test]
fn in_a_namespace_scripts_reach_their_own_keys_and_the_server_denies_all_others() {
    let cluster = Cluster::start();
    for connections in ["shared", "own"] {
        let proxy = start_by_plan(&cluster, connections);
        for index in 0..3 {
            cluster.node(index).client().cmd("FLUSHALL");
        }
        let (mut shop, mut web) = (logged_in(&proxy, "shop"), logged_in(&proxy, "web"));
        live_in_a_namespace(&mut shop, "{webwebwe}:a");
        live_in_a_namespace(&mut web, "shopshop:a");
        assert_eq!(shop.cmd("SELECT 2").text(), "OK");
        live_in_a_namespace(&mut shop, "webwebwe:a");
    }
}

#[test]
fn what_a_tracking_client_of_a_namespace_says_goes_as_its_user() {
    let cluster = Cluster::start();
    let proxy = start_by_plan(&cluster, "shared");
    let mut shop = logged_in(&proxy, "shop");
    shop.cmd("HELLO 3");
    assert_eq!(shop.cmd("SET a 1").text(), "OK");
    assert_eq!(shop.cmd("CLIENT TRACKING ON").text(), "OK");
    assert_eq!(shop.cmd("GET a").text(), "1");
    assert_denied(&shop.cmd("EVAL \"return _G.redis.call('GET', 'elsewhere')\" 1 a").error());
    let own = (0..3).map(|index| connections(cluster.node(index), "slotway-shop")).sum::<usize>();
    assert_eq!(own, 1, "the one that it reads from");
    assert_eq!(logged_in(&proxy, "shop").cmd("SET a 2").text(), "OK");
    assert_eq!(shop.read().items()[1].items()[0].text(), "a", "told of its own name");
}

#[test]
fn whoever_comes_in_by_a_tenants_own_door_is_that_tenant() {
    let server = Server::start();
    let (shops, opens) = (Port::lease(), Port::lease());
    let door = |port: &Port| format!("listen = [\"127.0.0.1:{}\"]", port.number());
    let open = format!("[[tenants]]\nname = \"open\"\nnamespace = \"openopen\"\n{}\n", door(&opens));
    let tenants = [tenant("root", ""), tenant("shop", &door(&shops)), open];
    let url = format!("redis://{}", server.addr());
    let proxy = Options::standalone(&url).config(&tenants.concat()).start();
    let by = |port: &Port| Raw::connect(&format!("127.0.0.1:{}", port.number()));

    let mut open = by(&opens);
    assert_eq!(open.cmd("ACL WHOAMI").text(), "default");
    assert_eq!(open.cmd("SET a open").text(), "OK");
    assert!(open.cmd("AUTH root secret").error().starts_with("WRONGPASS"));
    assert!(open.cmd("HELLO 3 AUTH shop secret").error().starts_with("WRONGPASS"));
    assert!(open.cmd("AUTH anything").error().contains("without any password configured"));
    assert_eq!(open.cmd("RESET").text(), "RESET");
    assert_eq!(open.cmd("GET a").text(), "open", "it stays what it was");

    let mut shop = by(&shops);
    assert_eq!(shop.cmd("GET a").error(), "NOAUTH Authentication required.");
    for other in ["root", "default"] {
        assert!(shop.cmd(&format!("AUTH {other} secret")).error().starts_with("WRONGPASS"), "{other}");
    }
    assert_eq!(shop.cmd("AUTH shop secret").text(), "OK");
    assert_eq!(shop.cmd("GET a"), Value::Nil);
    assert!(shop.cmd("HELLO 3 AUTH root secret").error().starts_with("WRONGPASS"));
    assert_eq!(shop.cmd("ACL WHOAMI").text(), "shop");
    assert_eq!(shop.cmd("RESET").text(), "RESET");
    assert_eq!(shop.cmd("GET a").error(), "NOAUTH Authentication required.");

    // By the door that is everybody's: whoever has a password.
    assert_eq!(proxy.client().cmd("GET a").error(), "NOAUTH Authentication required.");
    for user in ["root", "shop"] {
        assert_eq!(logged_in(&proxy, user).cmd("GET openopen:a").text(), "open", "of the cluster's own keys");
    }
}

#[test]
fn reads_from_replicas_and_behind_a_moving_slot_go_as_the_tenants_user() {
    let cluster = Cluster::with(Kind::usual(), 2, 2);
    let tenants =
        walled("shop", "own").replace("name = \"shop\"\n", "name = \"shop\"\nnamespace = \"shopshop\"\n");
    let tenants = tenants + &tenant("plain", "");
    for index in 0..cluster.len() {
        let mut client = cluster.node(index).client();
        plan(&tenants).iter().for_each(|line| assert_eq!(client.cmd(line).text(), "OK"));
    }
    let proxy = Options::cluster(&cluster.urls())
        .config(&tenants)
        .set(&["cluster.read_from=\"replica\"", "cluster.max_replica_lag=\"off\""])
        .start();
    let (mut shop, mut plain) = (logged_in(&proxy, "shop"), logged_in(&proxy, "plain"));
    let key = cluster.key_on(0, "shopshop:a").replace("shopshop:", "");
    assert_eq!(shop.cmd(&format!("SET {key} 1")).text(), "OK");
    let replica = cluster.node(2);
    eventually("a read at the replica", Duration::from_secs(15), || {
        assert_eq!(shop.cmd(&format!("GET {key}")).text(), "1", "whoever answers");
        (connections(replica, "slotway-shop") > 0 && metric(&mut plain, "reads_to_replicas") > 0)
            .then_some(())
    });

    // The slot moves: a key that is not there any more is asked for at the other node, behind ASKING.
    let full = format!("shopshop:{key}");
    let slot = Slot::of(full.as_bytes()).number();
    let id = |index: usize| cluster.node(index).client().cmd("CLUSTER MYID").text();
    let set = |at: usize, what: &str, of: usize| {
        let line = format!("CLUSTER SETSLOT {slot} {what} {}", id(of));
        assert_eq!(cluster.node(at).client().cmd(&line).text(), "OK");
    };
    set(1, "IMPORTING", 0);
    set(0, "MIGRATING", 1);
    assert_eq!(shop.cmd(&format!("DEL {key}")).int(), 1);
    assert_eq!(shop.cmd(&format!("SET {key} there")).text(), "OK");
    assert!(metric(&mut plain, "redirects_ask") > 0);
    let mut there = cluster.node(1).client();
    there.cmd("ASKING");
    assert_eq!(there.cmd(&format!("GET {full}")).text(), "there");
}
