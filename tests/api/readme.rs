//! The README keeps its word: its walk is run line for line, and its table of settings is whole.

use portcullis::config::VARIABLES;

use crate::support::{Database, on_both_databases};

const README: &str = include_str!("../../README.md");

/// The walk's lines, for a service elsewhere and a program that is built already.
fn walk(port: u16) -> String {
    let walk = README.split("<!-- walk -->").nth(1).unwrap().split("<!-- /walk -->").next().unwrap();
    let walk = walk.trim().trim_start_matches("```sh").trim_end_matches("```");
    let by_cargo = "cargo run -q --release --";
    assert!(walk.contains(by_cargo), "{walk}");
    walk.replace("http://127.0.0.1:8080", &format!("http://127.0.0.1:{port}"))
        .replace(by_cargo, env!("CARGO_BIN_EXE_portcullis"))
}

on_both_databases! {
    async fn the_walk_gives_what_the_readme_shows(database: Database) {
        let fresh = database.app().without("BOOTSTRAP_ADMIN_USERNAME").without("BOOTSTRAP_ADMIN_EMAIL");
        let app = fresh.without("BOOTSTRAP_ADMIN_PASSWORD").start().await;
        let port = app.port();
        let launch = app.launch.clone();
        let Some(printed) = tokio::task::spawn_blocking(move || launch.script(&walk(port))).await.unwrap() else {
            eprintln!("THE README'S WALK WAS NOT TESTED: there is no curl");
            return;
        };
        for shown in [
            r#""username":"johndoe""#,
            r#""permissions":["projects:read","reports:read"]"#,
            r#""detail":"Permission required: audit:read","code":"permission_required""#,
            "a superuser with the role admin",
            r#""action":"LIST_AUDIT_LOGS""#,
            r#""outcome":"denied""#,
        ] {
            assert!(printed.contains(shown), "{shown} is not in\n{printed}");
        }
        assert!(printed.trim_end().ends_with(r#"{"results":[true,false]}"#), "{printed}");
    }
}

#[test]
fn the_table_of_settings_is_whole() {
    for variable in VARIABLES {
        let row = format!("| `{}` |", variable.name);
        assert_eq!(README.matches(&row).count(), 1, "{}", variable.name);
    }
}

/// The settings of the README's section on sign-in, as they are to be copied.
fn sign_in_settings() -> String {
    let section =
        README.split("## Sign-in with Google, Microsoft and Okta").nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.filter(|block| block.starts_with("OAUTH_") || block.starts_with("PUBLIC_URL")).collect()
}

#[test]
fn the_settings_of_the_section_on_sign_in_turn_all_providers_on() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), sign_in_settings()).unwrap();
    let exit = Database::sqlite().app().inside(folder.path()).command_line(&["config", "check"], "");
    assert_eq!(exit.code, Some(0), "{exit:?}");
    for set in ["OAUTH_GOOGLE_CLIENT_ID", "OAUTH_MICROSOFT_TENANTS", "OAUTH_OKTA_DOMAIN", "OAUTH_REDIRECT_ALLOWLIST"] {
        assert!(sign_in_settings().contains(set), "{set}");
    }
    // Nothing is left to be warned of.
    assert!(!exit.stderr.contains("OAUTH_"), "{exit:?}");
}
