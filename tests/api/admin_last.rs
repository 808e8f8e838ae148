//! An administrator always remains, whatever is taken away and in whatever order.

use serde_json::{Value, json};

use crate::support::{Account, Answer, Database, TestApp, on_both_databases};

/// A way to take an administrator away: method, what follows the user's path, body.
type Way = (&'static str, &'static str, Option<&'static str>);

/// Each of them makes a superuser no superuser who can sign in.
const OF_SUPERUSERS: [Way; 3] = [
    ("PATCH", "", Some(r#"{"is_superuser": false}"#)),
    ("PATCH", "", Some(r#"{"is_active": false}"#)),
    ("DELETE", "", None),
];

/// Each of them makes a user of role `admin` none.
const OF_ADMINS: [Way; 3] =
    [("DELETE", "/roles/admin", None), ("PATCH", "", Some(r#"{"is_active": false}"#)), ("DELETE", "", None)];

async fn take(app: &TestApp, who: &Account, whom: &str, (method, below, body): Way) -> Answer {
    let path = format!("/admin/users/{whom}{below}");
    match body {
        Some(body) => app.tell(who, method, &path, &serde_json::from_str::<Value>(body).unwrap()).await,
        None => app.ask(who, method, &path).await,
    }
}

/// An instance whose administrators have the role alone: `root_admin` is a superuser no more.
///
/// No request leads there; a database console does.
async fn without_superusers(database: &Database) -> TestApp {
    let mut app = database.app().start().await;
    app.terminate().await;
    database.execute("UPDATE users SET is_superuser = FALSE").await;
    database.app().start().await
}

/// Asserts that the root account's last hold on role `admin` can't be taken by these requests.
async fn assert_kept(app: &TestApp, requests: &[(&str, &str)]) {
    let root = app.admin().await;
    let is_direct = app.me(&root.access).await.json()["roles"].as_array().unwrap().contains(&json!("admin"));
    for way in OF_ADMINS.into_iter().filter(|way| is_direct || way.1.is_empty()) {
        take(app, root, &root.id, way).await.problem(409, "last_admin");
    }
    for (method, path) in requests {
        app.ask(root, method, path).await.problem(409, "last_admin");
    }
    assert!(app.passes(root, "role=admin&permission=users:manage").await);
}

on_both_databases! {
    async fn the_last_superuser_stays_whichever_way_the_others_went(app: TestApp) {
        let root = app.admin().await;
        // An administrator by role does not make up for a superuser.
        app.make_user("jim", &["admin"]).await;
        for (n, first) in OF_SUPERUSERS.into_iter().enumerate() {
            for (m, second) in OF_SUPERUSERS.into_iter().enumerate() {
                let sue = app.make_user(&format!("sue{n}{m}"), &[]).await;
                app.change_user(&sue, json!({"is_superuser": true})).await;
                take(&app, root, &sue, first).await.expect_one_of(&[200, 204]);
                let refused = take(&app, root, &root.id, second).await;
                refused.problem(409, "last_admin");
                assert_eq!(app.record_of(&refused).await["outcome"], "failure");
            }
        }
        let me = app.me(&root.access).await.expect(200).json();
        assert_eq!((&me["is_superuser"], &me["is_active"]), (&json!(true), &json!(true)));
        // All of one request, or nothing.
        let both = json!({"full_name": "Gone", "is_superuser": false});
        app.tell(root, "PATCH", &format!("/admin/users/{}", root.id), &both).await.problem(409, "last_admin");
        assert_eq!(app.me(&root.access).await.json()["full_name"], me["full_name"]);
    }

    async fn the_superuser_before_the_last_may_go_any_way(app: TestApp) {
        for (n, way) in OF_SUPERUSERS.into_iter().enumerate() {
            // By itself, and the other can't follow it.
            let name = format!("sue{n}");
            let id = app.make_user(&name, &[]).await;
            app.change_user(&id, json!({"is_superuser": true})).await;
            let sue = app.login(&name, "securepassword123").await;
            take(&app, &sue, &id, way).await.expect_one_of(&[200, 204]);
            take(&app, app.admin().await, &app.admin().await.id, way).await.problem(409, "last_admin");
        }
    }

    async fn a_superuser_who_cannot_sign_in_does_not_count(app: TestApp) {
        let root = app.admin().await;
        let sue = app.make_user("sue", &["admin"]).await;
        app.change_user(&sue, json!({"is_superuser": true})).await;
        let id = app.database().id(&sue);
        app.database().execute(&format!("UPDATE users SET password_hash = NULL WHERE id = {id}")).await;
        for way in OF_SUPERUSERS {
            take(&app, root, &root.id, way).await.problem(409, "last_admin");
        }
        // With a password it does.
        app.change_user(&sue, json!({"password": "new-kq7-Vw2.zR9"})).await;
        take(&app, root, &root.id, OF_SUPERUSERS[0]).await.expect(200);
    }

    async fn the_role_is_superfluous_beside_a_superuser(app: TestApp) {
        // A superuser passes the role check for `admin` without the role.
        let root = app.admin().await;
        app.administer("DELETE", &format!("/admin/users/{}/roles/admin", root.id)).await;
        assert!(app.passes(root, "role=admin").await);
        take(&app, root, &root.id, OF_SUPERUSERS[0]).await.problem(409, "last_admin");
        let jim = app.make_user("jim", &["admin"]).await;
        for way in [OF_ADMINS[0], OF_ADMINS[1], OF_ADMINS[2]] {
            take(&app, root, &jim, way).await.expect_one_of(&[200, 204]);
        }
    }

    async fn what_leaves_the_account_is_allowed_to_the_last_one(app: TestApp) {
        let root = app.admin().await;
        let path = format!("/admin/users/{}", root.id);
        let change = json!({"full_name": "Root", "is_active": true, "is_superuser": true});
        app.tell(root, "PATCH", &path, &change).await.expect(200);
        app.ask(root, "DELETE", &format!("{path}/roles/viewer")).await.expect(204);
        app.ask(root, "DELETE", &format!("{path}/sessions")).await.expect(204);
        let again = app.login("root_admin", "correct-horse-battery").await;
        app.tell(&again, "PATCH", &path, &json!({"password": "new-kq7-Vw2.zR9"})).await.expect(200);
        let again = app.login("root_admin", "new-kq7-Vw2.zR9").await;
        assert!(app.passes(&again, "role=admin").await);
    }

    async fn the_last_holder_of_role_admin_stays(database: Database) {
        let app = without_superusers(&database).await;
        let root = app.admin().await;
        assert_eq!(app.me(&root.access).await.expect(200).json()["is_superuser"], false);
        assert_kept(&app, &[]).await;
        for (n, first) in OF_ADMINS.into_iter().enumerate() {
            for (m, second) in OF_ADMINS.into_iter().enumerate() {
                let jim = app.make_user(&format!("jim{n}{m}"), &["admin"]).await;
                take(&app, root, &jim, first).await.expect_one_of(&[200, 204]);
                take(&app, root, &root.id, second).await.problem(409, "last_admin");
            }
        }
        // One who sleeps does not count, nor one who cannot sign in.
        let jim = app.make_user("jim", &["admin"]).await;
        let id = database.id(&jim);
        database.execute(&format!("UPDATE users SET password_hash = NULL WHERE id = {id}")).await;
        assert_kept(&app, &[]).await;
        app.change_user(&jim, json!({"password": "new-kq7-Vw2.zR9"})).await;
        take(&app, root, &root.id, OF_ADMINS[0]).await.expect(204);
        app.ask(root, "GET", "/admin/users").await.problem(403, "permission_required");
    }

    async fn an_include_of_admin_makes_a_last_administrator_too(database: Database) {
        let app = without_superusers(&database).await;
        let root = app.admin().await;
        for role in ["boss", "chief"] {
            app.make_role(role, &[]).await;
        }
        app.include("boss", "chief").await;
        app.include("chief", "admin").await;
        app.set_role("PUT", &root.id, "boss").await;
        app.set_role("DELETE", &root.id, "admin").await;
        let revoke = format!("/admin/users/{}/roles/boss", root.id);
        let ways = [("DELETE", "/admin/roles/boss/includes/chief"), ("DELETE", "/admin/roles/chief/includes/admin"),
            ("DELETE", "/admin/roles/boss"), ("DELETE", "/admin/roles/chief"), ("DELETE", revoke.as_str())];
        assert_kept(&app, &ways).await;
        // Refused, and nothing of it done.
        assert_eq!(app.role("boss").await["includes"], json!(["chief"]));
        assert_eq!(app.role("chief").await["includes"], json!(["admin"]));
        // A sleeping second one does not help; one of another way of inclusion does.
        let jim = app.make_user("jim", &["chief"]).await;
        app.change_user(&jim, json!({"is_active": false})).await;
        assert_kept(&app, &ways).await;
        app.change_user(&jim, json!({"is_active": true})).await;
        app.ask(root, "DELETE", ways[1].1).await.problem(409, "last_admin");
        app.ask(root, "DELETE", ways[0].1).await.expect(204);
        app.ask(root, "GET", "/admin/users").await.problem(403, "permission_required");
        let jim = app.login("jim", "securepassword123").await;
        for (method, path) in &ways[1..4] {
            let status = if path.ends_with("/boss") { 204 } else { 409 };
            app.ask(&jim, method, path).await.expect(status);
        }
        app.set_role_as(&jim, "PUT", &jim.id, "admin").await.expect(204);
        app.ask(&jim, "DELETE", "/admin/roles/chief").await.expect(204);
        app.set_role_as(&jim, "DELETE", &jim.id, "admin").await.problem(409, "last_admin");
    }

    async fn two_ways_to_be_one_are_one_administrator(database: Database) {
        let app = without_superusers(&database).await;
        let root = app.admin().await;
        app.make_role("chief", &[]).await;
        app.include("chief", "admin").await;
        app.set_role("PUT", &root.id, "chief").await;
        // Either way may go, and then the other stays.
        let direct = format!("/admin/users/{}/roles/admin", root.id);
        let include = "/admin/roles/chief/includes/admin";
        app.administer("DELETE", include).await;
        app.ask(root, "DELETE", &direct).await.problem(409, "last_admin");
        app.administer("PUT", include).await;
        app.administer("DELETE", &direct).await;
        app.ask(root, "DELETE", include).await.problem(409, "last_admin");
        app.ask(root, "DELETE", &format!("/admin/users/{}", root.id)).await.problem(409, "last_admin");
        // What is no way to `admin` goes freely.
        app.make_role("side", &[]).await;
        app.include("chief", "side").await;
        app.administer("DELETE", "/admin/roles/side").await;
        app.administer("PUT", &format!("/admin/users/{}/roles/analyst", root.id)).await;
        app.administer("DELETE", &format!("/admin/users/{}/roles/analyst", root.id)).await;
    }
}
