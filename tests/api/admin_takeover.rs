//! No one takes over what they lack: bigger accounts, and the roles that make them big.

use serde_json::{Value, json};

use crate::support::{Account, Answer, TestApp, on_both_databases};

/// A user who may manage users, and looks after viewers.
async fn manager(app: &TestApp) -> Account {
    app.make_role("support", &["users:read", "users:manage"]).await;
    app.holder("sam", &["support", "viewer"]).await
}

/// Everything that can be written to a user, but its deletion.
fn writes() -> Vec<(&'static str, &'static str, Option<Value>)> {
    vec![
        ("PATCH", "", Some(json!({"full_name": "Mine"}))),
        ("PATCH", "", Some(json!({"password": "new-kq7-Vw2.zR9"}))),
        ("PATCH", "", Some(json!({"email": "mine@example.com"}))),
        ("PATCH", "", Some(json!({"email_verified": true}))),
        ("PATCH", "", Some(json!({"is_active": false}))),
        ("PATCH", "", Some(json!({"is_active": true}))),
        ("PUT", "/roles/viewer", None),
        ("DELETE", "/roles/viewer", None),
        ("DELETE", "/sessions", None),
    ]
}

async fn write(app: &TestApp, who: &Account, id: &str, (method, below, body): &(&str, &str, Option<Value>)) -> Answer {
    let path = format!("/admin/users/{id}{below}");
    match body {
        Some(body) => app.tell(who, method, &path, body).await,
        None => app.ask(who, method, &path).await,
    }
}

/// Asserts that this user can write nothing to that one, and that nothing was written.
async fn assert_out_of_reach(app: &TestApp, who: &Account, id: &str) {
    let path = format!("/admin/users/{id}");
    let before = app.ask(app.admin().await, "GET", &path).await.expect(200).json();
    for step in &writes() {
        let answer = write(app, who, id, step).await;
        let what = format!("{} writes {step:?} to {}", who.username, before["username"]);
        assert_eq!(answer.status, 403, "{what}: {}", answer.text());
        assert_eq!(answer.problem_of(403)["code"], "escalation", "{what}");
    }
    let after = app.ask(app.admin().await, "GET", &path).await.expect(200).json();
    assert_eq!(after, before);
}

on_both_databases! {
    async fn a_bigger_account_is_out_of_reach(app: TestApp) {
        let sam = manager(&app).await;
        // Of no permissions, but a role that others may ask for.
        app.make_role("guild", &[]).await;
        for role in ["lead", "chief"] {
            app.make_role(role, &[]).await;
        }
        app.include("lead", "analyst").await;
        app.include("chief", "admin").await;
        for (n, roles) in [&["analyst"][..], &["guild"], &["lead", "viewer"], &["viewer", "admin"], &["chief"]]
            .into_iter()
            .enumerate()
        {
            let target = app.holder(&format!("target{n}"), roles).await;
            assert_out_of_reach(&app, &sam, &target.id).await;
            app.me(&target.access).await.expect(200);
            // Asleep it is as big as it would be awake.
            app.change_user(&target.id, json!({"is_active": false})).await;
            assert_out_of_reach(&app, &sam, &target.id).await;
        }
    }

    async fn a_superusers_account_is_out_of_reach_of_all_others(app: TestApp) {
        let sam = manager(&app).await;
        app.make_role("star", &["*"]).await;
        app.make_role("chief", &[]).await;
        app.include("chief", "admin").await;
        let sue = app.holder("sue", &[]).await;
        app.change_user(&sue.id, json!({"is_superuser": true})).await;
        let others = [
            sam,
            app.holder("stella", &["star"]).await,
            app.holder("jim", &["admin"]).await,
            app.holder("charles", &["chief", "star", "admin", "viewer"]).await,
        ];
        for who in &others {
            assert_out_of_reach(&app, who, &sue.id).await;
            let problem = app.ask(who, "DELETE", &format!("/admin/users/{}", sue.id)).await.problem_of(403);
            let is_admin = ["jim", "charles"].contains(&who.username.as_str());
            assert_eq!(problem["code"], if is_admin { "escalation" } else { "role_required" }, "{}", who.username);
        }
        app.me(&sue.access).await.expect(200);
        app.login("sue", "securepassword123").await;
        // Superusers among themselves may.
        for step in &writes()[..4] {
            write(&app, &sue, &app.admin().await.id, step).await.expect(200);
        }
    }

    async fn an_account_of_no_more_than_ones_own_is_looked_after(app: TestApp) {
        let sam = manager(&app).await;
        app.make_role("team", &[]).await;
        app.include("team", "support").await;
        app.include("team", "viewer").await;
        let tess = app.holder("tess", &["team"]).await;
        let viewer = app.make_user("vera", &["viewer"]).await;
        let bare = app.make_user("bob", &[]).await;
        let peer = app.make_user("pia", &["support", "viewer"]).await;
        for who in [&sam, &tess] {
            for id in [&viewer, &bare, &peer] {
                for step in &writes() {
                    let answer = write(&app, who, id, step).await;
                    let status = if step.0 == "PATCH" { 200 } else { 204 };
                    assert_eq!(answer.status, status, "{} writes {step:?}: {}", who.username, answer.text());
                }
                app.change_user(id, json!({"email": format!("u{id}@example.com")})).await;
            }
        }
        // Within a role that includes the others, but not the other way round.
        assert_out_of_reach(&app, &sam, &tess.id).await;
        app.tell(&tess, "PATCH", &format!("/admin/users/{}", sam.id), &json!({"full_name": "Sam"})).await.expect(200);
        app.tell(&sam, "PATCH", &format!("/admin/users/{}", sam.id), &json!({"full_name": "Me"})).await.expect(200);
        let jim = app.holder("jim", &["admin"]).await;
        for id in [&viewer, &bare, &peer, &sam.id, &tess.id] {
            app.ask(&jim, "DELETE", &format!("/admin/users/{id}")).await.expect(204);
        }
    }

    async fn a_role_is_made_smaller_only_by_who_may_assign_it(app: TestApp) {
        let sam = manager(&app).await;
        app.make_role("big", &["projects:delete", "projects:read"]).await;
        app.include("big", "analyst").await;
        app.make_role("bigger", &[]).await;
        app.include("bigger", "big").await;
        let john = app.make_user("johndoe", &[]).await;
        let takes = ["/admin/roles/big/permissions/projects:delete", "/admin/roles/big/permissions/projects:read",
            "/admin/roles/big/includes/analyst", "/admin/roles/big"];
        // Held directly, by include, and by one who sleeps.
        for (role, is_active) in [("big", true), ("bigger", true), ("big", false), ("bigger", false)] {
            app.set_role("PUT", &john, role).await;
            app.change_user(&john, json!({"is_active": is_active})).await;
            for path in takes {
                let answer = app.ask(&sam, "DELETE", path).await;
                assert_eq!(answer.status, 403, "{path}, {role} held, {is_active}: {}", answer.text());
                answer.problem(403, "escalation");
            }
            app.set_role("DELETE", &john, role).await;
        }
        let before = app.role("big").await;
        assert_eq!((&before["permissions"], &before["includes"]),
            (&json!(["projects:delete", "projects:read"]), &json!(["analyst"])));
        // The include of a role that somebody holds is taken only by who may assign that role.
        app.set_role("PUT", &john, "bigger").await;
        app.ask(&sam, "DELETE", "/admin/roles/bigger/includes/big").await.problem(403, "escalation");
        app.set_role("DELETE", &john, "bigger").await;
        // Nobody holds it: nobody is made small.
        for path in takes {
            app.ask(&sam, "DELETE", path).await.expect(204);
        }
        assert_eq!(app.role("bigger").await["includes"], json!([]));
    }

    async fn all_permissions_of_a_role_do_not_make_up_for_the_role(app: TestApp) {
        app.make_role("support", &["users:read", "users:manage"]).await;
        app.make_role("star", &["*"]).await;
        app.make_role("guild", &["projects:read"]).await;
        let john = app.make_user("johndoe", &["guild"]).await;
        let stella = app.holder("stella", &["star"]).await;
        for path in ["/admin/roles/guild/permissions/projects:read", "/admin/roles/guild"] {
            app.ask(&stella, "DELETE", path).await.problem(403, "escalation");
        }
        // Who has the role may; an administrator counts as having every role.
        let gus = app.holder("gus", &["support", "guild"]).await;
        app.ask(&gus, "DELETE", "/admin/roles/guild/permissions/projects:read").await.expect(204);
        let jim = app.holder("jim", &["admin"]).await;
        app.ask(&jim, "DELETE", "/admin/roles/guild").await.expect(204);
        let user = app.ask(&jim, "GET", &format!("/admin/users/{john}")).await.expect(200).json();
        assert_eq!(user["roles"], json!([]));
    }

    async fn a_bigger_account_is_not_made_small_by_a_detour(app: TestApp) {
        // Each way to shrink an administrator first, and then to write to the rest of it.
        let sam = manager(&app).await;
        app.make_role("chief", &[]).await;
        app.include("chief", "admin").await;
        let jim = app.holder("jim", &["chief"]).await;
        for path in ["/admin/roles/chief/includes/admin", "/admin/roles/chief"] {
            app.ask(&sam, "DELETE", path).await.problem(403, "escalation");
        }
        app.ask(&sam, "DELETE", &format!("/admin/users/{}/roles/chief", jim.id)).await.problem(403, "escalation");
        // Nor is a role grown that one has oneself.
        for path in ["/admin/roles/support/includes/chief", "/admin/roles/viewer/includes/chief"] {
            app.ask(&sam, "PUT", path).await.problem(403, "escalation");
        }
        assert!(app.passes(&jim, "role=admin").await);
        assert!(!app.passes(&sam, "role=chief").await);
    }
}
