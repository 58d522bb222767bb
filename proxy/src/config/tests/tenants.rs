//! Tenants: users, namespaces, limits.

use super::*;

#[test]
fn tenants_have_users_namespaces_and_rules() {
    let settings = settings(&format!(
        "{SEEDS}[[users]]\nname = 'ops'\nnopass = true\n\
         [[tenants]]\nname = 'shop'\nnamespace = 'k3m9x2ab'\nplacement = 'together'\ndatabases = 3\n\
         commands = '+@all -@dangerous'\n[[tenants.users]]\nname = 'shop'\nnopass = true\n\
         [[tenants]]\nname = 'default'\ncommands = '+@read'\n"
    ));
    let [default, shop] = settings.tenants.as_slice() else { panic!("two tenants") };
    assert_eq!((default.name.as_str(), default.users[0].name.as_str()), ("default", "ops"));
    assert!(default.commands.is_some() && default.namespace.is_none());
    let namespace = shop.namespace.expect("a namespace");
    assert_eq!((namespace.id.as_str(), namespace.databases), ("k3m9x2ab", 3));
    assert_eq!(
        shop.to_string(),
        "shop: users shop; namespace k3m9x2ab together, databases 3; commands by rules"
    );
}

#[test]
fn what_is_wrong_with_a_tenant_is_told() {
    for (text, reason) in [
        ("[[tenants]]\n", "tenants[0] has no name"),
        ("[[tenants]]\nname = 'a b'\n", "tenants[0].name is \"a b\", must be a name of 1 to 64"),
        ("[[tenants]]\nname = 'a'\nnamespace = 'shop'\n", "must be 8 characters of a-z and 0-9"),
        ("[[tenants]]\nname = 'a'\ndatabases = 2\n", "tenants[0] has databases without namespace"),
        ("[[tenants]]\nname = 'a'\ncommands = '+gte'\n", "tenants[0].commands: \"+gte\" is no command"),
        ("[[tenants]]\nname = 'a'\n[[tenants]]\nname = 'a'\n", "the name \"a\" stands more than once"),
        (
            "[[tenants]]\nname = 'a'\nnamespace = '12345678'\n[[tenants]]\nname = 'b'\nnamespace = '12345678'\n",
            "the namespace \"12345678\" stands more than once",
        ),
        (
            "[[users]]\nname = 'u'\nnopass = true\n[[tenants]]\nname = 'a'\n[[tenants.users]]\nname = 'u'\nnopass = true\n",
            "users: the name \"u\" stands more than once in all tenants",
        ),
    ] {
        let said = said(&format!("{SEEDS}{text}"));
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn a_tenants_backend_user_is_whole_and_one_tenants() {
    let tenant = |name: &str, more: &str| format!("[[tenants]]\nname = '{name}'\n{more}\n");
    let user = "backend = { user = 'u', password = 'hidden' }";
    let shop = &settings(&format!("{SEEDS}{}", tenant("shop", user))).tenants[1];
    assert!(shop.to_string().ends_with("backend user u, connections shared"), "{shop}");
    assert!(!format!("{shop:?}").contains("hidden"));
    for (text, reason) in [
        (tenant("a", "backend.user = 'u'"), "tenants[0] has backend.user without password"),
        (tenant("a", "backend.password = 'hidden'"), "a backend password without backend.user"),
        (tenant("a", "connections = 'own'"), "connections = \"own\" without backend.user"),
        (
            tenant("a", "backend = { user = 'u', password = 'hidden', password_env = 'X' }"),
            "more than one of",
        ),
        (tenant("a", "backend = { user = 'u', password_env = 'SLOTWAY_NOT_SET' }"), "SLOTWAY_NOT_SET"),
        (tenant("a", "backend = { user = 'a b', password = 'hidden' }"), "backend.user is \"a b\", must be"),
        (tenant("a", "backend = { user = 'u', password = 7 }"), "backend.password is (hidden), must be"),
        (tenant("a", &format!("connections = 'mine'\n{user}")), "must be \"shared\" or \"own\""),
        (
            tenant("a", user) + &tenant("b", &format!("namespace = '12345678'\n{user}")),
            "the backend user \"u\" is of more than one tenant",
        ),
        (
            tenant("a", "listen = ['127.0.0.1:7']") + &tenant("b", "listen = ['127.0.0.1:7']"),
            "tenants.listen: the address 127.0.0.1:7 stands more than once",
        ),
    ] {
        let said = said(&format!("{SEEDS}{text}"));
        assert!(said.contains(reason) && !said.contains("hidden'"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn certificates_are_users_and_names_are_tenants() {
    let shop = |more: &str| format!("{SEEDS}[[tenants]]\nname = 'shop'\n{more}\n");
    let settings = settings(&shop(
        "tls_names = ['Shop.example']\nusers = [{ name = 'a', tls_subjects = ['CN=app', 'DNS:App.example'] }]",
    ));
    let tenant = &settings.tenants[1];
    assert_eq!(tenant.tls_names, ["shop.example"]);
    let user = &tenant.users[0];
    let subjects: Vec<_> = user.subjects.iter().map(|subject| subject.as_str()).collect();
    assert_eq!((subjects, user.is_open()), (vec!["CN=app", "DNS:app.example"], false));
    for (text, reason) in [
        ("users = [{ name = 'a', tls_subjects = ['app'] }]", "must be whom a certificate speaks of: CN=name"),
        ("users = [{ name = 'a', nopass = true, tls_subjects = ['CN=app'] }]", "must have either nopass"),
        ("tls_names = ['*.example']", "must be a host name"),
        ("tls_names = ['a', 'A']", "\"a\""),
        (
            "users = [{ name = 'a', tls_subjects = ['CN=app'] }, { name = 'b', tls_subjects = ['CN=app'] }]",
            "tls_subjects: \"CN=app\" stands more than once",
        ),
    ] {
        let said = said(&shop(text));
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn passwords_may_stand_in_a_file_or_a_variable() {
    let folder = std::env::temp_dir().join(format!("slotway-passwords-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("passwords");
    let user = format!("{SEEDS}[[users]]\nname = 'a'\npasswords_file = '{}'\n", file.display());
    let hash = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
    std::fs::write(&file, format!("old\n#{hash}\n\n")).expect("a file");
    assert_eq!(settings(&user).tenants[0].users[0].passwords.len(), 2);
    assert_eq!(settings(&user).tenants[0].users[0].passwords[1][0], 0x5e);
    std::fs::write(&file, "#secret\n").expect("a file");
    let wrong = said(&user);
    assert!(wrong.contains("users[0]: passwords_file") && !wrong.contains("secret"), "{wrong}");
    std::fs::write(&file, "\n").expect("a file");
    assert!(said(&user).contains("holds no password"));
    std::fs::remove_dir_all(&folder).expect("removed");
    let missing = said(&format!("{SEEDS}[[users]]\nname = 'a'\npasswords_env = 'SLOTWAY_NOT_SET'\n"));
    assert!(missing.contains("users[0]: passwords_env SLOTWAY_NOT_SET"), "{missing}");
}

#[test]
fn a_user_has_passwords_or_says_that_it_needs_none() {
    let key = || "users[0]".to_owned();
    for login in ["", "nopass = false", "nopass = true\npasswords_sha256 = ['%']"] {
        let login = login.replace('%', &"0".repeat(64));
        let text = format!("{SEEDS}[[users]]\nname = 'a'\n{login}");
        assert_eq!(error(&text), ConfigError::UserLogin { place: place(2), key: key() });
    }
    let twice =
        format!("{SEEDS}[[users]]\nname = 'a'\nnopass = true\n[[users]]\nname = 'a'\nnopass = true\n");
    assert_eq!(error(&twice), ConfigError::DuplicateUser { name: "a".to_owned() });
    let spaced = format!("{SEEDS}[[users]]\nname = 'a b'\nnopass = true\n");
    assert!(said(&spaced).contains("users[0].name is \"a b\", must be a name of 1 to 128 characters"));
}

#[test]
fn limits_have_the_action_that_is_written_or_delay() {
    use crate::config::limits::{Action, Bound, Limit};

    let text = format!(
        "{SEEDS}[[tenants]]\nname = 'a'\n[tenants.limits]\nclients = 3\nrequests_per_second = 7\n\
         bytes_in_per_second = '2KiB'\nbytes_in_per_second_action = 'refuse'"
    );
    let limits = settings(&text).tenants[1].limits;
    let bound = |most, action| Some(Bound { most, action });
    assert_eq!(limits.bound(Limit::Clients), bound(3, Action::Delay));
    assert_eq!(limits.bound(Limit::RequestsPerSecond), bound(7, Action::Delay));
    assert_eq!(limits.bound(Limit::BytesInPerSecond), bound(2_048, Action::Refuse));
    assert_eq!(limits.bound(Limit::MaxValue), None);
    let shown = settings(&text).tenants[1].to_string();
    assert!(
        shown.ends_with("; limits clients 3, requests_per_second 7, bytes_in_per_second 2048"),
        "{shown}"
    );
}

#[test]
fn mistakes_in_limits_are_told() {
    for (limits, mistake) in [
        ("pending = 0", "tenants[0].limits.pending is 0, must be a whole number from 1 to 10000000"),
        ("bytes_in_flight = '1KiB'", "must be a size from \"64KiB\" to \"1024GiB\""),
        ("pending = 1\npending_action = 'wait'", "must be \"delay\" or \"refuse\""),
        ("pending_action = 'refuse'", "tenants[0].limits has pending_action without pending"),
        ("clients = 1\nclients_action = 'delay'", "unknown key tenants[0].limits.clients_action"),
        ("max_value = 1", "must be a size from \"1KiB\" to \"1GiB\""),
    ] {
        let said = said(&format!("{SEEDS}[[tenants]]\nname = 'a'\n[tenants.limits]\n{limits}"));
        assert!(said.contains(mistake), "{said}");
    }
}
