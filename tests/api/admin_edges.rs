//! Administration at its edges: the default role, users who go while they sign in, odd ways to write
//! a path, a database that is away.

use serde_json::{Value, json};

use crate::support::{Account, Backend, Database, TestApp, eventually, on_both_databases, slot};

/// Restarts the service with another default role.
async fn restarted(database: &Database, mut app: TestApp, default_role: &str) -> TestApp {
    app.terminate().await;
    database.app().env("DEFAULT_ROLE", default_role).start().await
}

on_both_databases! {
    async fn a_default_role_that_manages_users_in_whatever_way_stops_the_start(database: Database) {
        let mut app = database.app().start().await;
        app.make_role("inner", &["users:*"]).await;
        for (role, permissions) in [("direct", &["users:manage"][..]), ("wild", &["users:*"]), ("star", &["*"]),
            ("by-include", &[]), ("chief", &[]), ("member", &["users:read"])]
        {
            app.make_role(role, permissions).await;
        }
        app.include("by-include", "inner").await;
        app.include("chief", "admin").await;
        app.terminate().await;
        for role in ["direct", "wild", "star", "by-include", "chief", "admin", "no-such-role"] {
            database.app().env("DEFAULT_ROLE", role).serve_to_end().refused("DEFAULT_ROLE");
        }
        let app = database.app().env("DEFAULT_ROLE", "member").start().await;
        let john = app.user("johndoe").await;
        assert_eq!(app.me(&john.access).await.expect(200).json()["roles"], json!(["member"]));
    }

    async fn a_default_role_that_is_deleted_is_no_error_of_ours(database: Database) {
        let app = database.app().start().await;
        app.make_role("member", &[]).await;
        let app = restarted(&database, app, "member").await;
        let deleted = app.ask(app.admin().await, "DELETE", "/admin/roles/member").await.expect_one_of(&[204, 409]);
        let answer = app.post("/auth/register").json(&TestApp::registration("johndoe")).send().await;
        assert!(answer.status != 500, "after a deletion that was {}: {}", deleted.status, answer.text());
        let made = app.tell(app.admin().await, "POST", "/admin/users", &TestApp::registration("janedoe")).await;
        assert!(made.status != 500, "after a deletion that was {}: {}", deleted.status, made.text());
    }

    async fn a_user_who_goes_while_signing_in_is_out(app: TestApp) {
        let root = app.admin().await;
        for round in 0..6 {
            let john = app.user("johndoe").await;
            let path = format!("/admin/users/{}", john.id);
            let take_away = async {
                // A login takes as long as a hash; the deletion falls into it.
                tokio::time::sleep(std::time::Duration::from_millis(15 * round)).await;
                app.ask(root, "DELETE", &path).await.expect(204);
            };
            let login = || app.try_login("johndoe", &john.password);
            let change = json!({"current_password": john.password, "new_password": "new-kq7-Vw2.zR9"});
            let password = app.tell(&john, "POST", "/auth/password", &change);
            let profile = json!({"full_name": "John"});
            let (one, other, refreshed, changed, profiled, ()) = tokio::join!(
                login(),
                login(),
                app.refresh(&john.refresh),
                password,
                app.tell(&john, "PATCH", "/auth/me", &profile),
                take_away
            );
            for answer in [&one, &other, &refreshed] {
                assert!([200, 401].contains(&answer.status), "round {round}: {}", answer.text());
                if answer.status == 200 {
                    let tokens = answer.json();
                    app.me(tokens["access_token"].as_str().unwrap()).await.problem(401, "token_revoked");
                    app.refresh(tokens["refresh_token"].as_str().unwrap()).await.problem_of(401);
                }
            }
            changed.expect_one_of(&[204, 401, 403, 404]);
            profiled.expect_one_of(&[200, 401, 404]);
            app.me(&john.access).await.problem(401, "token_revoked");
        }
    }

    async fn a_user_who_is_deactivated_while_signing_in_is_out(app: TestApp) {
        let john = app.user("johndoe").await;
        for round in 0..6 {
            let put_to_sleep = async {
                tokio::time::sleep(std::time::Duration::from_millis(15 * round)).await;
                app.change_user(&john.id, json!({"is_active": false})).await;
            };
            let login = || app.try_login("johndoe", &john.password);
            let (one, other, ()) = tokio::join!(login(), login(), put_to_sleep);
            app.change_user(&john.id, json!({"is_active": true})).await;
            for answer in [one, other] {
                assert!([200, 401].contains(&answer.status), "round {round}: {}", answer.text());
                if answer.status == 200 {
                    let tokens = answer.json();
                    app.me(tokens["access_token"].as_str().unwrap()).await.problem(401, "token_revoked");
                    app.refresh(tokens["refresh_token"].as_str().unwrap()).await.problem_of(401);
                }
            }
        }
    }

    async fn a_resource_is_recorded_by_its_one_name_however_it_is_asked_for(app: TestApp) {
        let root = app.admin().await;
        let john = app.make_user("johndoe", &["viewer"]).await;
        app.make_role("runner", &[]).await;
        let plain = john.replace('-', "");
        let mut missed = Vec::new();
        for (method, path, name) in [
            ("PUT", format!("/admin/users/{}/roles/analyst", john.to_uppercase()), &john),
            ("DELETE", format!("/admin/users/{plain}/sessions"), &john),
            ("GET", format!("/admin/users/%7B{john}%7D/permissions"), &john),
            ("GET", format!("/admin/users/urn:uuid:{john}"), &john),
            ("GET", format!("/admin/users/{}", john.replacen('-', "%2D", 1)), &john),
            ("POST", format!("/admin/users/{}/unlock", john.to_uppercase()), &john),
            ("PUT", "/admin/roles/%72unner/permissions/runs:read".into(), &"runner".to_owned()),
            ("PUT", "/admin/roles/%72unner/includes/v%69ewer".into(), &"runner".to_owned()),
            ("GET", "/admin/roles/runne%72".into(), &"runner".to_owned()),
        ] {
            // Another spelling is the same one, or none; never one that a search for it misses.
            let answer = app.ask(root, method, &path).await.expect_one_of(&[200, 204, 404]);
            let recorded = app.record_of(&answer).await["resource_id"].clone();
            if answer.status != 404 && recorded != name.as_str() {
                missed.push(format!("{method} {path} is recorded as {recorded}"));
            }
        }
        assert_eq!(missed, Vec::<String>::new());
    }
}

#[tokio::test]
async fn administration_is_503_while_the_database_is_away() {
    let _slot = slot().await;
    let Some(database) = Database::fresh(Backend::Postgresql).await else { return };
    let app = database.app().env("DATABASE_TIMEOUT_SECONDS", "1").start().await;
    let root: &Account = app.admin().await;
    app.make_role("runner", &[]).await;
    let john = app.make_user("johndoe", &["viewer"]).await;
    app.me(&root.access).await.expect(200);
    database.set_away(true).await;
    let user = format!("/admin/users/{john}");
    let named = |name: &str| json!({"name": name});
    let calls: Vec<(&str, String, Option<Value>)> = vec![
        ("POST", "/admin/users".into(), Some(TestApp::registration("janedoe"))),
        ("DELETE", user.clone(), None),
        ("GET", format!("{user}/sessions"), None),
        ("DELETE", format!("{user}/sessions"), None),
        ("POST", "/admin/roles".into(), Some(named("walker"))),
        ("PATCH", "/admin/roles/runner".into(), Some(json!({"description": "X"}))),
        ("DELETE", "/admin/roles/runner".into(), None),
        ("PUT", "/admin/roles/runner/permissions/runs:read".into(), None),
        ("DELETE", "/admin/roles/runner/permissions/runs:read".into(), None),
        ("PUT", "/admin/roles/runner/includes/viewer".into(), None),
        ("DELETE", "/admin/roles/runner/includes/viewer".into(), None),
        ("POST", "/admin/permissions".into(), Some(named("runs:fly"))),
        ("DELETE", "/admin/permissions/runs:read".into(), None),
    ];
    let answers = calls.iter().map(|(method, path, body)| async {
        match body {
            Some(body) => app.tell(root, method, path, body).await,
            None => app.ask(root, method, path).await,
        }
    });
    for answer in futures_util::future::join_all(answers).await {
        answer.problem(503, "unavailable");
    }
    database.set_away(false).await;
    eventually("the service recovers", std::time::Duration::from_secs(20), || async {
        app.get("/readyz").send().await.status == 200
    })
    .await;
    // Nothing of it was done by halves.
    let runner = app.role("runner").await;
    assert_eq!((&runner["permissions"], &runner["description"]), (&json!([]), &json!("")));
    assert_eq!(app.permissions_of(&john).await.len(), 2);
    app.administer("DELETE", &user).await;
}
