//! `portcullis export` and `portcullis apply`: a company's roles as one reviewed file.

use std::time::Duration;

use serde_json::json;

use crate::support::{Backend, Database, Exit, Launch, TestApp, eventually, items, on_both_databases, slot};

fn export(launch: &Launch) -> String {
    let exit = launch.command_line(&["export"], "");
    assert_eq!(exit.code, Some(0), "{exit:?}");
    exit.stdout
}

/// Applies a text from standard input.
fn apply(launch: &Launch, text: &str, flags: &[&str]) -> Exit {
    launch.command_line(&[&["apply", "-"], flags].concat(), text)
}

#[track_caller]
fn applied(exit: &Exit) -> &str {
    assert_eq!(exit.code, Some(0), "{exit:?}");
    &exit.stdout
}

#[track_caller]
fn refused(exit: &Exit, line: usize, why: &str) {
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let errors: Vec<&str> = exit.stderr.lines().filter(|line| !line.starts_with('[')).collect();
    assert_eq!(errors.len(), 1, "not one line: {exit:?}");
    assert!(errors[0].contains(&format!("-:{line}: ")) && errors[0].contains(why), "not {line}, {why}: {exit:?}");
}

const COMPANY: &str = r#"
[permissions]
"invoices:approve" = "Approve invoices"

[roles.clerk]
description = "Writes invoices"
permissions = ["projects:read", "runs:*"]

[roles.accountant]
description = "Approves invoices"
permissions = ["invoices:approve"]
includes = ["clerk", "viewer"]
"#;

on_both_databases! {
    async fn what_is_exported_changes_nothing_when_it_is_applied(database: Database) {
        let launch = database.app();
        let first = export(&launch);
        assert!(first.contains("[roles.admin]") && first.contains("\"projects:read\" = \"View projects\""), "{first}");
        assert_eq!(applied(&apply(&launch, &first, &["--prune"])), "Nothing to change.\n");
        assert_eq!(export(&launch), first);

        let plan = apply(&launch, COMPANY, &["--dry-run"]);
        for line in [
            "+ permission invoices:approve: \"Approve invoices\"",
            "+ role clerk: \"Writes invoices\"",
            "~ role clerk: grants runs:*",
            "~ role accountant: includes clerk",
            "nothing was changed",
        ] {
            assert!(applied(&plan).contains(line), "{line}: {plan:?}");
        }
        assert_eq!(export(&launch), first);
        assert!(applied(&apply(&launch, COMPANY, &[])).contains("8 changes made."));
        assert_eq!(applied(&apply(&launch, COMPANY, &[])), "Nothing to change.\n");
        let second = export(&launch);
        assert_eq!(applied(&apply(&launch, &second, &["--prune"])), "Nothing to change.\n");
        // Back to where it was: the roles and the permission that are named no more.
        assert!(applied(&apply(&launch, &first, &["--prune"])).contains("- role accountant"));
        assert_eq!(export(&launch), first);
    }

    async fn a_running_service_takes_it_on_and_each_change_is_on_record(app: TestApp) {
        let john = app.user("johndoe").await;
        assert!(applied(&apply(&app.launch, COMPANY, &[])).contains("made"));
        eventually("the role is known", Duration::from_secs(2), || async {
            let admin = app.admin().await;
            app.get("/admin/roles/accountant").bearer(&admin.access).send().await.status == 200
        })
        .await;
        app.set_role("PUT", &john.id, "accountant").await;
        let ask = json!({"checks": [{"permission": "invoices:approve"}, {"permission": "runs:delete"}, {"role": "clerk"}]});
        let answer = app.post("/authz/check").bearer(&john.access).json(&ask).send().await.expect(200).json();
        assert_eq!(answer["results"], json!([true, true, true]));

        assert!(applied(&apply(&app.launch, "[roles.viewer]\ndescription = \"Looks\"\n", &["--prune"])).contains("1 user had it"));
        eventually("what the role gave is gone", Duration::from_secs(2), || async {
            let one = json!({"checks": [{"role": "viewer"}, {"permission": "runs:delete"}]});
            let answer = app.post("/authz/check").bearer(&john.access).json(&one).send().await.expect(200).json();
            answer["results"] == json!([true, false])
        })
        .await;
        let admin = app.admin().await;
        let records = app.get("/audit/logs?limit=1000").bearer(&admin.access).send().await.expect(200).json();
        let find = |action: &str, name: &str| {
            let mut found = items(&records).iter().filter(|it| it["action"] == action && it["resource_id"] == name);
            found.next().unwrap_or_else(|| panic!("no {action} {name}")).clone()
        };
        for (action, kind, name) in [
            ("CREATE_PERMISSION", "permission", "invoices:approve"),
            ("CREATE_ROLE", "role", "clerk"),
            ("GRANT_PERMISSION", "role", "clerk"),
            ("INCLUDE_ROLE", "role", "accountant"),
            ("DELETE_ROLE", "role", "accountant"),
            ("UPDATE_ROLE", "role", "viewer"),
            ("REVOKE_PERMISSION", "role", "viewer"),
            ("DELETE_PERMISSION", "permission", "invoices:approve"),
        ] {
            let record = find(action, name);
            assert_eq!((&record["source"], &record["resource_type"]), (&json!("cli"), &json!(kind)), "{record}");
            assert!(record["username"].as_str().unwrap().starts_with("cli:"), "{record}");
            assert_eq!(record["metadata"]["file"], "-", "{record}");
        }
        let deleted = find("DELETE_ROLE", "accountant");
        assert_eq!(deleted["metadata"]["users"], json!([john.id]), "{deleted}");
        let described = find("UPDATE_ROLE", "viewer");
        assert_eq!(described["metadata"]["changed"]["description"]["to"], "Looks", "{described}");
    }

    async fn a_file_that_does_not_hold_changes_nothing(database: Database) {
        let launch = database.app();
        applied(&apply(&launch, COMPANY, &[]));
        let before = export(&launch);
        let cases = [
            ("[roles.a]\npermissions = [\"projects:read\",]\ncolour = 1\n", 3, "unknown field `colour`"),
            ("[roles.a]\ndescription = \n", 2, ""),
            ("[roles.a]\n[roles.a]\n", 2, "duplicate"),
            ("[roles.new]\npermissions = [\n  \"projects:read\",\n  \"projects:undreamt\",\n]\n", 4, "projects:undreamt"),
            ("[roles.new]\nincludes = [\"nobody\"]\n", 2, "nobody"),
            ("[roles.new]\nincludes = [\"new\"]\n", 2, "new -> new"),
            ("[roles.clerk]\nincludes = [\n\"accountant\",\n]\n", 3, "clerk -> accountant -> clerk"),
            ("[roles.admin]\npermissions = [\"projects:read\"]\n", 2, "by rule"),
            ("[roles.\"Big Boss\"]\n", 1, "role's name"),
            ("[permissions]\n\"projects\" = \"\"\n", 2, "resource:action"),
        ];
        for (text, line, why) in cases {
            refused(&apply(&launch, &format!("{text}\n[roles.other]\n"), &[]), line, why);
        }
        // A permission that nobody declares, although a grant names it, would be pruned.
        let undeclared = "[roles.accountant]\npermissions = [\"invoices:approve\"]\n";
        refused(&apply(&launch, undeclared, &["--prune"]), 2, "accountant");
        let exit = launch.command_line(&["apply", "missing.toml"], "");
        assert!(exit.code == Some(1) && exit.stderr.contains("missing.toml"), "{exit:?}");
        assert_eq!(apply(&launch, &"#".repeat((1 << 20) + 1), &[]).code, Some(1));
        assert_eq!(launch.command_line(&["apply"], "").code, Some(2));
        assert_eq!(export(&launch), before);
    }
}

#[tokio::test]
async fn two_that_apply_at_once_make_it_once() {
    let _slot = slot().await;
    for backend in [Backend::Sqlite, Backend::Postgresql] {
        let Some(database) = Database::fresh(backend).await else { continue };
        let launch = database.app();
        applied(&launch.command_line(&["migrate"], ""));
        let both: Vec<_> = (0..2)
            .map(|_| {
                let launch = launch.clone();
                tokio::task::spawn_blocking(move || apply(&launch, COMPANY, &[]))
            })
            .collect();
        let mut said = Vec::new();
        for one in both {
            said.push(applied(&one.await.unwrap()).to_owned());
        }
        said.sort();
        assert!(said[0].contains("8 changes made.") ^ said[1].contains("8 changes made."), "{said:?}");
        assert!(said.iter().any(|text| text == "Nothing to change.\n"), "{said:?}");
    }
}
