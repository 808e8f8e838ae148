//! Administrators at the same moment: one change after another, whoever comes first.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Account, Answer, Database, TestApp, on_both_databases};

/// As many as ask for the same at once.
const MANY: usize = 50;

/// Takes an administrator away, in the first, second or third way.
async fn take(app: &TestApp, who: &Account, whom: &Account, way: usize) -> Answer {
    let path = format!("/admin/users/{}", whom.id);
    match way % 3 {
        0 => app.tell(who, "PATCH", &path, &json!({"is_superuser": false})).await,
        1 => app.tell(who, "PATCH", &path, &json!({"is_active": false})).await,
        _ => app.ask(who, "DELETE", &path).await,
    }
}

/// Asserts that one was done and the other refused; gives whether it was the first.
#[track_caller]
fn one_was_done(what: &str, one: &Answer, other: &Answer) -> bool {
    let is_done = |answer: &Answer| [200, 204].contains(&answer.status);
    assert!(
        is_done(one) != is_done(other),
        "{what}: {} {} and {} {}",
        one.status,
        one.text(),
        other.status,
        other.text()
    );
    let refused = if is_done(one) { other } else { one };
    // Too late with a right that is gone (403, or 401 with the session), or the last of its kind.
    assert!([401, 403, 409].contains(&refused.status), "{what}: {} {}", refused.status, refused.text());
    refused.problem_of(refused.status);
    is_done(one)
}

async fn count(app: &TestApp, what: &str) -> Option<String> {
    app.database().scalar(&format!("SELECT count(*) FROM users WHERE {what}")).await
}

/// Makes one superuser more, by another.
async fn superuser(app: &TestApp, by: &Account, name: &str) -> Account {
    let mut body = TestApp::registration(name);
    body["roles"] = json!([]);
    let user = app.tell(by, "POST", "/admin/users", &body).await.expect(201).json();
    let path = format!("/admin/users/{}", user["id"].as_str().unwrap());
    app.tell(by, "PATCH", &path, &json!({"is_superuser": true})).await.expect(200);
    app.login(name, "securepassword123").await
}

/// Asks for the same many times at once: all are told 204, and one of them did it.
async fn assert_done_once(app: &TestApp, method: &str, path: &str, action: &str) {
    let root = app.admin().await;
    let answers = futures_util::future::join_all((0..MANY).map(|_| app.ask(root, method, path))).await;
    let mut ids = BTreeSet::new();
    for answer in answers {
        assert_eq!(answer.status, 204, "{method} {path}: {}", answer.text());
        ids.insert(answer.header("x-request-id").unwrap().to_owned());
    }
    let records = app.audit(&format!("action={action}&limit=1000")).await;
    let ours: Vec<&Value> =
        records.iter().filter(|record| ids.contains(record["request_id"].as_str().unwrap_or_default())).collect();
    assert_eq!(ours.len(), MANY, "{method} {path}");
    for (changed, times) in [(true, 1), (false, MANY - 1)] {
        let found = ours.iter().filter(|record| record["metadata"]["changed"] == changed).count();
        assert_eq!(found, times, "{method} {path}: changed: {changed}");
    }
}

on_both_databases! {
    async fn of_two_superusers_who_remove_each_other_one_remains(app: TestApp) {
        let root = app.admin().await;
        let mut pair = [superuser(&app, root, "sue").await, superuser(&app, root, "sam").await];
        // The bootstrap account steps back: the pair is all there is.
        app.change_user(&root.id, json!({"is_superuser": false})).await;
        for round in 0..10 {
            let [first, second] = &pair;
            let (one, other) = tokio::join!(take(&app, first, second, round), take(&app, second, first, round / 3));
            let is_first = one_was_done(&format!("round {round}"), &one, &other);
            assert_eq!(count(&app, "is_superuser AND is_active").await.as_deref(), Some("1"), "round {round}");
            let winner = if is_first { first.clone() } else { second.clone() };
            assert!(app.passes(&winner, "role=admin").await, "round {round}");
            let next = superuser(&app, &winner, &format!("sue{round}")).await;
            pair = if round % 2 == 0 { [winner, next] } else { [next, winner] };
        }
    }

    async fn of_two_holders_of_role_admin_who_demote_each_other_one_remains(database: Database) {
        let mut app = database.app().start().await;
        app.terminate().await;
        database.execute("UPDATE users SET is_superuser = FALSE").await;
        let app = database.app().start().await;
        let root = app.admin().await;
        // One has the role itself, the other by an include.
        app.make_role("chief", &[]).await;
        app.include("chief", "admin").await;
        let jim = app.holder("jim", &["chief"]).await;
        let include = "/admin/roles/chief/includes/admin";
        for round in 0..10 {
            let exclude = async {
                if round % 2 == 0 { app.ask(root, "DELETE", include).await }
                else { app.set_role_as(root, "DELETE", &jim.id, "chief").await }
            };
            let (one, other) = tokio::join!(exclude, app.set_role_as(&jim, "DELETE", &root.id, "admin"));
            if one_was_done(&format!("round {round}"), &one, &other) {
                app.administer("PUT", include).await;
                app.set_role("PUT", &jim.id, "chief").await;
            } else {
                assert!(!app.passes(root, "role=admin").await, "round {round}");
                app.set_role_as(&jim, "PUT", &root.id, "admin").await.expect(204);
            }
            assert!(app.passes(root, "role=admin").await && app.passes(&jim, "role=admin").await, "round {round}");
        }
    }

    async fn of_many_who_leave_at_once_one_stays(app: TestApp) {
        let root = app.admin().await;
        let mut all = vec![root.clone()];
        for n in 0..7 {
            all.push(superuser(&app, root, &format!("sue{n}")).await);
        }
        let calls = all.iter().enumerate().map(|(n, who)| take(&app, who, who, n));
        let answers = futures_util::future::join_all(calls).await;
        let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status >= 400).collect();
        assert_eq!(refused.len(), 1, "{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
        refused[0].problem(409, "last_admin");
        assert_eq!(count(&app, "is_superuser AND is_active").await.as_deref(), Some("1"));
    }

    async fn a_right_that_is_taken_meanwhile_hands_out_nothing(app: TestApp) {
        // What is assigned and what is taken from who assigns it, at the same moment: whichever came
        // first, nothing is left that was given after the right was gone.
        app.make_role("support", &["users:read", "users:manage"]).await;
        let sam = app.holder("sam", &["support", "viewer", "analyst"]).await;
        let john = app.make_user("johndoe", &[]).await;
        for round in 0..10 {
            let (given, ()) = tokio::join!(
                app.set_role_as(&sam, "PUT", &john, "analyst"),
                app.set_role("DELETE", &sam.id, "analyst"),
            );
            if given.status != 204 {
                given.problem(403, "escalation");
            }
            let user = app.ask(app.admin().await, "GET", &format!("/admin/users/{john}")).await.json();
            assert_eq!(user["roles"] == json!(["analyst"]), given.status == 204, "round {round}: {user}");
            // From here on it is refused for certain.
            app.set_role("DELETE", &john, "analyst").await;
            app.set_role_as(&sam, "PUT", &john, "analyst").await.problem(403, "escalation");
            app.set_role("PUT", &sam.id, "analyst").await;
        }
    }

    async fn the_same_change_many_times_at_once_is_one_change(app: TestApp) {
        app.make_role("runner", &[]).await;
        let john = app.make_user("johndoe", &[]).await;
        let role = format!("/admin/users/{john}/roles/runner");
        for (path, give, take) in [
            ("/admin/roles/runner/permissions/runs:read", "GRANT_PERMISSION", "REVOKE_PERMISSION"),
            ("/admin/roles/runner/permissions/*", "GRANT_PERMISSION", "REVOKE_PERMISSION"),
            ("/admin/roles/runner/includes/analyst", "INCLUDE_ROLE", "EXCLUDE_ROLE"),
            (role.as_str(), "ASSIGN_ROLE", "REVOKE_ROLE"),
        ] {
            assert_done_once(&app, "PUT", path, give).await;
            assert_done_once(&app, "DELETE", path, take).await;
        }
        let runner = app.role("runner").await;
        assert_eq!((&runner["permissions"], &runner["includes"]), (&json!([]), &json!([])));
    }

    async fn of_many_deletions_at_once_one_is_done(app: TestApp) {
        let root = app.admin().await;
        let john = app.make_user("johndoe", &["analyst"]).await;
        app.make_role("runner", &["runs:read"]).await;
        app.make_permission("runs:fly").await;
        for path in [&format!("/admin/users/{john}"), "/admin/roles/runner", "/admin/permissions/runs:fly"] {
            let answers = futures_util::future::join_all((0..10).map(|_| app.ask(root, "DELETE", path))).await;
            let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
            statuses.sort_unstable();
            assert_eq!(statuses[0], 204, "{path}: {statuses:?}");
            assert!(statuses[1..].iter().all(|status| *status == 404), "{path}: {statuses:?}");
        }
    }

    async fn a_role_is_not_assigned_while_it_is_deleted(app: TestApp) {
        let root = app.admin().await;
        let john = app.make_user("johndoe", &[]).await;
        for round in 0..10 {
            app.make_role("runner", &["runs:read"]).await;
            let (deleted, assigned) = tokio::join!(
                app.ask(root, "DELETE", "/admin/roles/runner"),
                app.set_role_as(root, "PUT", &john, "runner"),
            );
            deleted.expect(204);
            assigned.expect_one_of(&[204, 404]);
            let user = app.ask(root, "GET", &format!("/admin/users/{john}")).await.json();
            assert_eq!(user["roles"], json!([]), "round {round}");
        }
    }
}
