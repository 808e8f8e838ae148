//! The other commands of the binary.

use crate::support::{Database, on_both_databases, slot};

const PASSWORD: &str = "kq7-Vw2.zR9_tb4";

fn create<'a>(username: &'a str, email: &'a str) -> [&'a str; 7] {
    ["admin", "create", "--username", username, "--email", email, "--password-stdin"]
}

on_both_databases! {
    async fn an_administrator_is_made_from_the_command_line(database: Database) {
        // No service has run before, and nobody is made by settings.
        let unset = |launch: crate::support::Launch| {
            launch
                .without("BOOTSTRAP_ADMIN_USERNAME")
                .without("BOOTSTRAP_ADMIN_EMAIL")
                .without("BOOTSTRAP_ADMIN_PASSWORD")
        };
        let launch = unset(database.app());
        let exit = launch.command_line(&create("boss", "boss@example.com"), &format!("{PASSWORD}\n"));
        assert_eq!(exit.code, Some(0), "{exit:?}");
        let app = launch.start().await;
        let boss = app.login("boss", PASSWORD).await;
        let me = app.me(&boss.access).await.expect(200).json();
        assert_eq!(me["is_superuser"], true);
        assert!(me["roles"].as_array().unwrap().contains(&"admin".into()), "{me}");
        // Beside the running service too.
        let exit = app.launch.command_line(&create("boss2", "boss2@example.com"), PASSWORD);
        assert_eq!(exit.code, Some(0), "{exit:?}");
        app.login("boss2", PASSWORD).await;
        crate::support::eventually("both are audited", std::time::Duration::from_secs(10), || async {
            let logs = app.get("/audit/logs?limit=1000").bearer(&boss.access).send().await.expect(200).json();
            let by_hand: Vec<_> =
                crate::support::items(&logs).iter().filter(|record| record["source"] == "cli").collect();
            assert!(
                by_hand.iter().all(|record| record["username"].as_str().is_some_and(|name| name.starts_with("cli:")))
            );
            assert!(!logs.to_string().contains(PASSWORD));
            by_hand.len() >= 2
        })
        .await;
    }

    async fn an_administrator_that_can_not_be_made_fails_with_one_line(database: Database) {
        drop(database.app().start().await);
        for (arguments, password) in [
            (create("root_admin", "new@example.com"), PASSWORD),
            (create("ROOT_ADMIN", "new@example.com"), PASSWORD),
            (create("new", "root@example.com"), PASSWORD),
            (create("new", "no address"), PASSWORD),
            (create("n", "new@example.com"), PASSWORD),
            (create("new", "new@example.com"), "short"),
            (create("new", "new@example.com"), ""),
        ] {
            let exit = database.app().command_line(&arguments, password);
            assert!([Some(1), Some(2)].contains(&exit.code), "{arguments:?}: {exit:?}");
            assert_eq!(exit.stderr.lines().filter(|line| !line.starts_with('[')).count(), 1, "{exit:?}");
            assert!(password.is_empty() || !exit.stderr.contains(password), "{exit:?}");
        }
        assert_eq!(database.scalar("SELECT count(*) FROM users").await.as_deref(), Some("1"));
    }

    async fn migrations_run_by_themselves_and_twice(database: Database) {
        for _ in 0..2 {
            let exit = database.app().command_line(&["migrate"], "");
            assert_eq!(exit.code, Some(0), "{exit:?}");
        }
        assert_eq!(database.scalar("SELECT count(*) FROM roles").await.as_deref(), Some("3"));
        assert_eq!(database.scalar("SELECT count(*) FROM permissions").await.as_deref(), Some("15"));
        database.app().start().await.user("johndoe").await;
    }

    async fn the_configuration_is_checked_without_a_start(database: Database) {
        let exit = database.app().command_line(&["config", "check"], "");
        assert_eq!(exit.code, Some(0), "{exit:?}");
        database.app().env("PORT", "x").command_line(&["config", "check"], "").refused("PORT");
    }
}

#[tokio::test]
async fn help_and_version_are_everywhere() {
    let _slot = slot().await;
    let launch = Database::sqlite().app();
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["migrate", "--help"],
        &["admin", "--help"],
        &["admin", "create", "--help"],
        &["config", "--help"],
        &["config", "check", "--help"],
        &["--version"],
    ] {
        let exit = launch.command_line(arguments, "");
        assert_eq!(exit.code, Some(0), "{arguments:?}: {exit:?}");
        assert!(!exit.stdout.is_empty(), "{arguments:?}");
    }
    assert!(launch.command_line(&["--version"], "").stdout.contains(env!("CARGO_PKG_VERSION")));
    assert!(!launch.data_dir().exists(), "asking for help made a folder");
}

#[tokio::test]
async fn a_wrong_usage_is_exit_2_with_one_line() {
    let _slot = slot().await;
    let launch = Database::sqlite().app();
    for arguments in [
        &["no-such-command"][..],
        &["--no-such-option"],
        &["admin", "create"],
        &["admin"],
        &["config"],
        &["serve", "extra"],
        &["admin", "create", "--username"],
        &["apply"],
        &["keys", "generate"],
    ] {
        let exit = launch.command_line(arguments, "");
        assert_eq!(exit.code, Some(2), "{arguments:?}: {exit:?}");
        assert_eq!(exit.stderr.lines().count(), 1, "{arguments:?}: {exit:?}");
        assert!(!exit.stderr.trim().is_empty() && exit.stdout.is_empty(), "{arguments:?}: {exit:?}");
    }
}

#[tokio::test]
async fn the_service_is_what_runs_without_a_command() {
    let _slot = slot().await;
    let launch = Database::sqlite().app().env("PORT", "x");
    launch.command_line(&[], "").refused("PORT");
}
