//! Giving and taking roles: at once, by whom it may be, and never the last administrator's.

use serde_json::json;

use crate::support::{Account, Answer, TestApp, on_both_databases};

const NOBODY: &str = "0197f1d0-0000-7000-8000-000000000000";

async fn role(app: &TestApp, who: &Account, method: &str, user: &str, role: &str) -> Answer {
    app.call(method, &format!("/admin/users/{user}/roles/{role}")).bearer(&who.access).send().await
}

async fn patch(app: &TestApp, who: &Account, user: &str, change: serde_json::Value) -> Answer {
    app.patch(&format!("/admin/users/{user}")).bearer(&who.access).json(&change).send().await
}

on_both_databases! {
    async fn a_role_holds_for_the_next_request_and_so_does_its_end(app: TestApp) {
        let john = app.user("johndoe").await;
        let create = || app.get("/auth/verify?permission=projects:create").bearer(&john.access).send();
        for _ in 0..5 {
            create().await.problem(403, "permission_required");
            app.set_role("PUT", &john.id, "analyst").await;
            create().await.expect(200);
            app.set_role("DELETE", &john.id, "analyst").await;
        }
        create().await.problem(403, "permission_required");
        // Without a new token, and without a new session.
        app.me(&john.access).await.expect(200);
    }

    async fn a_repeat_changes_nothing_and_is_audited_as_such(app: TestApp) {
        let john = app.register("johndoe").await;
        let admin = app.admin().await;
        for (method, action) in [("PUT", "ASSIGN_ROLE"), ("DELETE", "REVOKE_ROLE")] {
            let first = role(&app, admin, method, &john, "analyst").await.expect(204);
            assert!(first.body.is_empty());
            let repeat = role(&app, admin, method, &john, "analyst").await.expect(204);
            let record = app.record_of(&first).await;
            assert_eq!(record["action"], action);
            assert_eq!(record["user_id"], admin.id.as_str());
            assert_eq!(record["resource_type"], "user");
            assert_eq!(record["resource_id"], john.as_str());
            assert!(record["metadata"].to_string().contains("analyst"), "{record}");
            assert_ne!(record["metadata"]["changed"], false, "{record}");
            assert_eq!(app.record_of(&repeat).await["metadata"]["changed"], false);
        }
    }

    async fn an_unknown_user_or_role_is_404(app: TestApp) {
        let admin = app.admin().await;
        let john = app.register("johndoe").await;
        for method in ["PUT", "DELETE"] {
            role(&app, admin, method, NOBODY, "analyst").await.problem_of(404);
            role(&app, admin, method, "not-a-uuid", "analyst").await.problem_of(404);
            role(&app, admin, method, &john, "no-such-role").await.problem_of(404);
            role(&app, admin, method, &john, "Not%20A%20Role").await.problem_of(404);
        }
    }

    async fn an_administrator_that_is_no_superuser_leaves_superusers_alone(app: TestApp) {
        let root = app.admin().await;
        let [jim, john] = [app.user_with_roles("jim", &["admin"]).await, app.user("johndoe").await];
        for change in [
            json!({"full_name": "X"}),
            json!({"password": "new-kq7-Vw2.zR9"}),
            json!({"is_active": false}),
            json!({"email": "mine@example.com"}),
            json!({"is_superuser": false}),
        ] {
            patch(&app, &jim, &root.id, change).await.problem(403, "escalation");
        }
        role(&app, &jim, "DELETE", &root.id, "admin").await.problem(403, "escalation");
        role(&app, &jim, "PUT", &root.id, "viewer").await.problem(403, "escalation");
        // Nor makes one, of another or of itself.
        patch(&app, &jim, &john.id, json!({"is_superuser": true})).await.problem(403, "escalation");
        patch(&app, &jim, &jim.id, json!({"is_superuser": true})).await.problem(403, "escalation");
        assert_eq!(app.me(&jim.access).await.json()["is_superuser"], false);
        app.login("root_admin", "correct-horse-battery").await;
        // But counts as holding every role.
        role(&app, &jim, "PUT", &john.id, "analyst").await.expect(204);
        role(&app, &jim, "PUT", &john.id, "admin").await.expect(204);
        role(&app, &jim, "DELETE", &john.id, "admin").await.expect(204);
        patch(&app, &jim, &john.id, json!({"full_name": "John Doe"})).await.expect(200);
    }

    async fn a_superuser_makes_another(app: TestApp) {
        let john = app.user("johndoe").await;
        let changed = app.change_user(&john.id, json!({"is_superuser": true})).await;
        assert_eq!(changed["is_superuser"], true);
        // All permissions and every role check, without the role.
        app.get("/auth/verify?role=admin&permission=users:manage").bearer(&john.access).send().await.expect(200);
        assert_eq!(app.me(&john.access).await.json()["roles"], json!(["viewer"]));
        app.change_user(&john.id, json!({"is_superuser": false})).await;
        app.get("/auth/verify?role=admin").bearer(&john.access).send().await.problem(403, "role_required");
    }

    async fn the_last_superuser_stays(app: TestApp) {
        let root = app.admin().await;
        // An administrator beside it does not make up for it.
        let jim = app.user_with_roles("jim", &["admin"]).await;
        for change in [json!({"is_superuser": false}), json!({"is_active": false})] {
            let answer = patch(&app, root, &root.id, change).await;
            answer.problem(409, "last_admin");
            assert_eq!(app.record_of(&answer).await["outcome"], "failure");
        }
        app.me(&root.access).await.expect(200);
        app.change_user(&jim.id, json!({"is_superuser": true})).await;
        // Now it may go, and then the other is the last.
        patch(&app, root, &root.id, json!({"is_superuser": false})).await.expect(200);
        patch(&app, &jim, &jim.id, json!({"is_superuser": false})).await.problem(409, "last_admin");
        patch(&app, &jim, &jim.id, json!({"is_active": false})).await.problem(409, "last_admin");
    }

    async fn of_two_superusers_who_demote_each_other_at_once_one_remains(app: TestApp) {
        app.admin().await;
        let pair = [app.user("mallory").await, app.user("trudy").await];
        for one in &pair {
            app.change_user(&one.id, json!({"is_superuser": true})).await;
        }
        // The bootstrap account steps back: the pair is all there is.
        app.change_user(&app.admin().await.id, json!({"is_superuser": false})).await;
        for round in 0..6 {
            let [first, second] = &pair;
            let (one, other) = tokio::join!(
                patch(&app, first, &second.id, json!({"is_superuser": false})),
                patch(&app, second, &first.id, json!({"is_superuser": false})),
            );
            let mut statuses = [one.status, other.status];
            statuses.sort_unstable();
            assert_eq!(statuses[0], 200, "round {round}: {statuses:?}");
            assert!([403, 409].contains(&statuses[1]), "round {round}: {statuses:?}: {} {}", one.text(), other.text());
            let (winner, loser) = if one.status == 200 { (first, second) } else { (second, first) };
            patch(&app, winner, &loser.id, json!({"is_superuser": true})).await.expect(200);
        }
    }
}
