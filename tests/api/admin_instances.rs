//! Two instances on one PostgreSQL: administration on one holds on the other within a second, and
//! the rules hold whichever instance is asked.

use std::time::Duration;

use serde_json::json;

use crate::support::{Account, Backend, Database, TestApp, eventually, slot};

/// What api.md gives an instance to hear of a change.
const SOON: Duration = Duration::from_secs(1);

/// Two instances, or none where there is no PostgreSQL.
async fn pair() -> Option<(TestApp, TestApp)> {
    let database = Database::fresh(Backend::Postgresql).await?;
    let first = database.app().start().await;
    Some((first, database.another_app().start().await))
}

/// Waits until this instance decides so, having decided otherwise before.
async fn soon(app: &TestApp, who: &Account, check: &str, passes: bool) {
    eventually(&format!("{check} is {passes}"), SOON, || async { app.passes(who, check).await == passes }).await;
}

#[tokio::test]
async fn a_grant_and_an_include_hold_on_the_other_instance_within_a_second() {
    let _slot = slot().await;
    let Some((one, other)) = pair().await else { return };
    one.make_role("runner", &[]).await;
    let john = one.holder("johndoe", &["runner"]).await;
    for (path, check) in [
        ("/admin/roles/runner/permissions/runs:delete", "permission=runs:delete"),
        ("/admin/roles/runner/permissions/runs:*", "permission=runs:delete"),
        ("/admin/roles/runner/permissions/*", "permission=audit:read"),
        ("/admin/roles/runner/includes/analyst", "role=analyst&permission=projects:create"),
        ("/admin/roles/runner/includes/admin", "role=admin"),
    ] {
        for (method, passes) in [("PUT", true), ("DELETE", false)] {
            assert_eq!(other.passes(&john, check).await, !passes, "{check}");
            one.administer(method, path).await;
            assert_eq!(one.passes(&john, check).await, passes, "{check}");
            soon(&other, &john, check, passes).await;
        }
    }
}

#[tokio::test]
async fn what_is_made_and_deleted_is_known_on_the_other_instance_within_a_second() {
    let _slot = slot().await;
    let Some((one, other)) = pair().await else { return };
    let root = one.admin().await;
    other.me(&root.access).await.expect(200);
    // A permission and a role are known: what was 422 is an answer.
    one.make_permission("runs:fly").await;
    let known = |query: &'static str| {
        let (other, root) = (&other, &root);
        async move { other.ask(root, "GET", &format!("/auth/verify?{query}")).await.status == 200 }
    };
    eventually("the permission is known", SOON, || known("permission=runs:fly")).await;
    one.make_role("flyer", &["runs:fly"]).await;
    eventually("the role is known", SOON, || known("role=flyer")).await;
    let john = one.holder("johndoe", &["flyer"]).await;
    // A user who was never asked for here is looked up at once.
    assert!(other.passes(&john, "role=flyer&permission=runs:fly").await);
    one.administer("DELETE", "/admin/roles/flyer").await;
    eventually("the role is unknown", SOON, || async { !known("role=flyer").await }).await;
    other.ask(&john, "GET", "/auth/verify?role=flyer").await.problem_of(422);
    assert!(!other.passes(&john, "permission=runs:fly").await);
    // A later one of that name is nobody's.
    one.make_role("flyer", &["runs:fly"]).await;
    eventually("the role is known again", SOON, || known("role=flyer")).await;
    assert!(!other.passes(&john, "role=flyer").await);
    one.administer("DELETE", "/admin/roles/flyer").await;
    one.administer("DELETE", "/admin/permissions/runs:fly").await;
    eventually("the permission is unknown", SOON, || async { !known("permission=runs:fly").await }).await;
}

#[tokio::test]
async fn a_deleted_user_and_ended_sessions_are_out_on_the_other_instance_within_a_second() {
    let _slot = slot().await;
    let Some((one, other)) = pair().await else { return };
    let john = one.user("johndoe").await;
    for path in [format!("/admin/users/{}/sessions", john.id), format!("/admin/users/{}", john.id)] {
        let session = other.login("johndoe", &john.password).await;
        other.me(&session.access).await.expect(200);
        one.me(&session.access).await.expect(200);
        one.administer("DELETE", &path).await;
        one.me(&session.access).await.problem(401, "token_revoked");
        eventually("the session is over", SOON, || async { other.me(&session.access).await.status == 401 }).await;
        other.me(&session.access).await.problem(401, "token_revoked");
        other.refresh(&session.refresh).await.problem_of(401);
    }
    other.try_login("johndoe", &john.password).await.problem(401, "invalid_credentials");
}

#[tokio::test]
async fn a_right_that_is_gone_hands_out_nothing_on_the_other_instance_either() {
    // Not even within the second that it may take to hear of it.
    let _slot = slot().await;
    let Some((one, other)) = pair().await else { return };
    one.make_role("support", &["users:read", "users:manage"]).await;
    let sam = one.holder("sam", &["support", "viewer", "analyst"]).await;
    let john = one.make_user("johndoe", &["viewer"]).await;
    for _ in 0..5 {
        other.set_role_as(&sam, "PUT", &john, "analyst").await.expect(204);
        other.set_role_as(&sam, "DELETE", &john, "analyst").await.expect(204);
        one.set_role("DELETE", &sam.id, "analyst").await;
        other.set_role_as(&sam, "PUT", &john, "analyst").await.problem(403, "escalation");
        let role = json!({"name": "mine", "permissions": ["runs:create"]});
        other.tell(&sam, "POST", "/admin/roles", &role).await.problem(403, "escalation");
        one.set_role("PUT", &sam.id, "analyst").await;
    }
    one.set_role("DELETE", &sam.id, "support").await;
    other.set_role_as(&sam, "PUT", &john, "viewer").await.problem_of(403);
}

#[tokio::test]
async fn two_instances_close_no_circle_and_leave_an_administrator() {
    let _slot = slot().await;
    let Some((one, other)) = pair().await else { return };
    let root = one.admin().await;
    for role in ["a", "b"] {
        one.make_role(role, &[]).await;
    }
    let sue = one.holder("sue", &[]).await;
    one.change_user(&sue.id, json!({"is_superuser": true})).await;
    let (there, back) = ("/admin/roles/a/includes/b", "/admin/roles/b/includes/a");
    for round in 0..10 {
        let (first, second) = tokio::join!(one.ask(root, "PUT", there), other.ask(root, "PUT", back));
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 409], "round {round}: {} {}", first.text(), second.text());
        one.administer("DELETE", if first.status == 204 { there } else { back }).await;
        // Both superusers step back at once, each on its instance.
        let step_back = json!({"is_superuser": false});
        let [roots, sues] = [root, &sue].map(|who| format!("/admin/users/{}", who.id));
        let (first, second) =
            tokio::join!(one.tell(root, "PATCH", &roots, &step_back), other.tell(&sue, "PATCH", &sues, &step_back));
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "round {round}: {} {}", first.text(), second.text());
        let (winner, path) = if first.status == 409 { (root, &sues) } else { (&sue, &roots) };
        one.tell(winner, "PATCH", path, &json!({"is_superuser": true})).await.expect(200);
    }
}

/// Ends every connection of both instances, the change feeds' too.
async fn cut(database: &Database) {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let ended = database.scalar(sql).await.expect("a number");
    assert!(ended.parse::<u32>().expect("a number") >= 2, "{ended} connections");
}

/// Makes the change with a connection that is new: what finds the old one dead is 503, and made again.
async fn administer_again(app: &TestApp, method: &str, path: &str) {
    let root = app.admin().await;
    eventually(&format!("{method} {path}"), SOON, || async {
        let answer = app.ask(root, method, path).await.expect_one_of(&[204, 503]);
        answer.status == 204
    })
    .await;
}

#[tokio::test]
async fn instances_agree_within_a_second_also_when_their_connections_were_cut() {
    let _slot = slot().await;
    let Some((one, other)) = pair().await else { return };
    one.make_role("runner", &[]).await;
    let john = one.holder("johndoe", &["runner"]).await;
    for (method, path, check, passes) in [
        ("PUT", "/admin/roles/runner/permissions/runs:delete".to_owned(), "permission=runs:delete", true),
        ("DELETE", "/admin/roles/runner/permissions/runs:delete".to_owned(), "permission=runs:delete", false),
        ("PUT", "/admin/roles/runner/includes/analyst".to_owned(), "role=analyst", true),
        ("DELETE", format!("/admin/users/{}/roles/runner", john.id), "role=analyst", false),
        ("PUT", format!("/admin/users/{}/roles/runner", john.id), "role=analyst", true),
    ] {
        assert_eq!(other.passes(&john, check).await, !passes, "{check}");
        cut(one.database()).await;
        administer_again(&one, method, &path).await;
        assert_eq!(one.passes(&john, check).await, passes, "{check}");
        soon(&other, &john, check, passes).await;
    }
    // A later role of that name starts empty, also where its holders are remembered.
    cut(one.database()).await;
    administer_again(&one, "DELETE", "/admin/roles/runner").await;
    one.make_role("runner", &["runs:delete"]).await;
    assert!(!one.passes(&john, "permission=runs:delete").await);
    soon(&other, &john, "role=runner", false).await;
    assert!(!other.passes(&john, "permission=runs:delete").await);
    cut(one.database()).await;
    eventually("the session is ended", SOON, || async {
        one.post("/auth/logout").bearer(&john.access).send().await.expect_one_of(&[204, 503]).status == 204
    })
    .await;
    eventually("the session is over on the other instance", SOON, || async {
        other.me(&john.access).await.status == 401
    })
    .await;
}
