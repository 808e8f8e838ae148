//! Roles that include roles: what is included counts, what is shown was assigned.

use serde_json::{Value, json};

use crate::support::{TestApp, items, names, on_both_databases};

/// Empty roles of these names.
async fn make_roles(app: &TestApp, names: &[&str]) {
    for name in names {
        app.make_role(name, &[]).await;
    }
}

fn path(role: &str, other: &str) -> String {
    format!("/admin/roles/{role}/includes/{other}")
}

/// Who was assigned this role.
async fn assigned(app: &TestApp, role: &str) -> Vec<String> {
    let list = app.ask(app.admin().await, "GET", &format!("/admin/users?role={role}")).await.expect(200).json();
    names(items(&list), "username")
}

on_both_databases! {
    async fn an_include_counts_for_the_next_request_and_so_does_its_end(app: TestApp) {
        app.make_role("inner", &["runs:read"]).await;
        app.make_role("middle", &["runs:*"]).await;
        app.make_role("outer", &["models:read"]).await;
        let john = app.holder("johndoe", &["outer", "viewer"]).await;
        let checks = json!({"checks": [{"role": "outer"}, {"role": "middle"}, {"role": "inner"},
            {"permission": "models:read"}, {"permission": "runs:delete"}, {"permission": "projects:create"}]});
        for _ in 0..3 {
            let check = || app.tell(&john, "POST", "/authz/check", &checks);
            assert_eq!(check().await.json()["results"], json!([true, false, false, true, false, false]));
            assert!(app.administer("PUT", &path("outer", "middle")).await.body.is_empty());
            app.administer("PUT", &path("middle", "inner")).await;
            assert_eq!(check().await.json()["results"], json!([true, true, true, true, true, false]));
            assert!(app.passes(&john, "role=inner&role=middle&role=outer&permission=runs:delete").await);
            let verify = app.ask(&john, "GET", "/auth/verify").await.expect(200);
            assert_eq!(verify.header("x-user-roles"), Some("inner,middle,outer,viewer"));
            let me = app.me(&john.access).await.expect(200).json();
            assert_eq!(me["roles"], json!(["outer", "viewer"]), "as assigned");
            assert_eq!(me["permissions"], json!(["models:read", "projects:read", "reports:read", "runs:create",
                "runs:delete", "runs:read", "runs:update"]));
            // An included role is read as it is, and not from within.
            assert_eq!(app.role("outer").await["includes"], json!(["middle"]));
            assert_eq!(app.role("outer").await["permissions"], json!(["models:read"]));
            assert_eq!(app.role("inner").await["includes"], json!([]));
            assert!(app.administer("DELETE", &path("outer", "middle")).await.body.is_empty());
            let verify = app.ask(&john, "GET", "/auth/verify").await.expect(200);
            assert_eq!(verify.header("x-user-roles"), Some("outer,viewer"));
            app.administer("DELETE", &path("middle", "inner")).await;
        }
    }

    async fn lists_show_what_was_assigned_directly(app: TestApp) {
        make_roles(&app, &["lead"]).await;
        app.include("lead", "analyst").await;
        app.include("analyst", "viewer").await;
        let john = app.make_user("johndoe", &["lead"]).await;
        assert_eq!(assigned(&app, "lead").await, ["johndoe"]);
        assert_eq!(assigned(&app, "analyst").await, Vec::<String>::new());
        assert_eq!(assigned(&app, "viewer").await, Vec::<String>::new());
        let user = app.ask(app.admin().await, "GET", &format!("/admin/users/{john}")).await.expect(200).json();
        assert_eq!(user["roles"], json!(["lead"]));
        // Each is listed with its own.
        let roles = app.ask(app.admin().await, "GET", "/admin/roles").await.expect(200).json();
        let includes = |name: &str| {
            items(&roles).iter().find(|role| role["name"] == name).expect("the role")["includes"].clone()
        };
        assert_eq!(includes("lead"), json!(["analyst"]));
        assert_eq!(includes("analyst"), json!(["viewer"]));
        app.include("lead", "viewer").await;
        assert_eq!(app.role("lead").await["includes"], json!(["analyst", "viewer"]));
    }

    async fn a_repeated_include_changes_nothing_and_is_audited_as_such(app: TestApp) {
        make_roles(&app, &["lead"]).await;
        for (method, action) in [("PUT", "INCLUDE_ROLE"), ("DELETE", "EXCLUDE_ROLE")] {
            for changed in [true, false, false] {
                let answer = app.administer(method, &path("lead", "analyst")).await;
                let record = app.record_of(&answer).await;
                assert_eq!((&record["action"], &record["resource_type"]), (&json!(action), &json!("role")));
                assert_eq!(record["resource_id"], "lead");
                assert_eq!(record["metadata"]["included"], "analyst", "{record}");
                assert_eq!(record["metadata"]["changed"], changed, "{method}: {record}");
            }
        }
    }

    async fn an_unknown_role_is_404_on_either_side(app: TestApp) {
        let admin = app.admin().await;
        make_roles(&app, &["lead"]).await;
        for (role, other) in [("lead", "nothing"), ("nothing", "lead"), ("nothing", "nothing"), ("lead", "Not%20One"),
            ("Not%20One", "lead"), ("lead", "*"), ("lead", "%00")]
        {
            for method in ["PUT", "DELETE"] {
                app.ask(admin, method, &path(role, other)).await.problem_of(404);
            }
        }
        assert_eq!(app.role("lead").await["includes"], json!([]));
    }

    async fn a_circle_of_includes_is_refused_and_told(app: TestApp) {
        let admin = app.admin().await;
        make_roles(&app, &["a", "b", "c", "d"]).await;
        for role in ["a", "viewer"] {
            let itself = app.ask(admin, "PUT", &path(role, role)).await.problem(409, "role_cycle");
            let told = itself["detail"].as_str().unwrap();
            assert!(told.contains(&format!("{role} -> {role}")), "{told}");
        }
        for (role, other) in [("a", "b"), ("b", "c"), ("a", "d"), ("d", "c")] {
            app.include(role, other).await;
        }
        for (role, other, circles) in [
            ("b", "a", &["a -> b -> a", "b -> a -> b"][..]),
            ("c", "b", &["b -> c -> b", "c -> b -> c"]),
            // Two ways round: either is a circle.
            ("c", "a", &["a -> b -> c -> a", "b -> c -> a -> b", "c -> a -> b -> c", "a -> d -> c -> a",
                "d -> c -> a -> d", "c -> a -> d -> c"]),
        ] {
            let answer = app.ask(admin, "PUT", &path(role, other)).await;
            let problem = answer.problem(409, "role_cycle");
            let told = problem["detail"].as_str().unwrap();
            assert!(circles.iter().any(|circle| told.contains(circle)), "{role} includes {other}: {told}");
            assert_eq!(app.record_of(&answer).await["outcome"], "failure");
        }
        assert_eq!(app.role("c").await["includes"], json!([]));
        assert_eq!(app.role("b").await["includes"], json!(["c"]));
        // A diamond is no circle; and what was one is none when the way is open again.
        app.administer("DELETE", &path("a", "b")).await;
        app.administer("DELETE", &path("a", "d")).await;
        app.include("c", "a").await;
    }

    async fn of_two_includes_that_close_a_circle_at_once_one_is_refused(app: TestApp) {
        let admin = app.admin().await;
        make_roles(&app, &["a", "b", "c"]).await;
        app.include("c", "a").await;
        for round in 0..10 {
            // a -> b, b -> c, and c -> a is there.
            let (there, back) = (path("a", "b"), path("b", "c"));
            let (one, other) = tokio::join!(app.ask(admin, "PUT", &there), app.ask(admin, "PUT", &back));
            let (winner, loser) = if one.status == 204 { (&there, &other) } else { (&back, &one) };
            assert_eq!([one.status, other.status].iter().filter(|status| **status == 204).count(), 1, "round {round}");
            loser.problem(409, "role_cycle");
            app.administer("DELETE", winner).await;
        }
        // The service is none the worse for it.
        app.me(&admin.access).await.expect(200);
    }

    async fn a_long_chain_of_includes_counts_to_its_end(app: TestApp) {
        let names: Vec<String> = (0..40).map(|n| format!("link{n}")).collect();
        for (n, name) in names.iter().enumerate() {
            app.make_role(name, if n == 39 { &["runs:delete"] } else { &[] }).await;
        }
        let john = app.holder("johndoe", &["link0"]).await;
        assert!(!app.passes(&john, "permission=runs:delete").await);
        for pair in names.windows(2) {
            app.include(&pair[0], &pair[1]).await;
        }
        assert!(app.passes(&john, "permission=runs:delete&role=link39").await);
        app.ask(app.admin().await, "PUT", &path("link39", "link0")).await.problem(409, "role_cycle");
        app.administer("DELETE", &path("link20", "link21")).await;
        assert!(!app.passes(&john, "permission=runs:delete").await);
    }

    async fn a_deleted_role_is_included_no_more(app: TestApp) {
        app.make_role("inner", &["runs:delete"]).await;
        make_roles(&app, &["outer"]).await;
        app.include("outer", "inner").await;
        let john = app.holder("johndoe", &["outer"]).await;
        assert!(app.passes(&john, "permission=runs:delete&role=inner").await);
        app.administer("DELETE", "/admin/roles/inner").await;
        assert!(!app.passes(&john, "permission=runs:delete").await);
        assert_eq!(app.role("outer").await["includes"], json!([]));
        assert_eq!(app.permissions_of(&john.id).await, Vec::<Value>::new());
        // A later one of that name is not included, nor does it include.
        app.make_role("inner", &["runs:delete"]).await;
        assert!(!app.passes(&john, "permission=runs:delete").await);
        app.include("inner", "viewer").await;
        app.administer("DELETE", "/admin/roles/inner").await;
        assert_eq!(app.make_role("inner", &[]).await["includes"], json!([]));
        assert_eq!(app.role("inner").await["includes"], json!([]));
    }

    async fn who_includes_admin_is_an_administrator(app: TestApp) {
        make_roles(&app, &["chief", "boss"]).await;
        app.include("boss", "chief").await;
        app.include("chief", "admin").await;
        let jim = app.holder("jim", &["boss"]).await;
        let john = app.user("johndoe").await;
        assert!(app.passes(&jim, "role=admin&permission=users:manage&permission=audit:read").await);
        assert_eq!(app.permissions_of(&jim.id).await.len(), 15);
        app.make_permission("runs:archive").await;
        assert!(app.passes(&jim, "permission=runs:archive").await);
        let roles = app.ask(&jim, "GET", "/auth/verify").await.expect(200);
        assert_eq!(roles.header("x-user-roles"), Some("admin,boss,chief"));
        assert_eq!(app.me(&jim.access).await.json()["roles"], json!(["boss"]));
        // Counts as holding every role, and deletes users.
        for role in ["analyst", "admin", "boss"] {
            app.ask(&jim, "PUT", &format!("/admin/users/{}/roles/{role}", john.id)).await.expect(204);
        }
        app.ask(&jim, "DELETE", &format!("/admin/users/{}", john.id)).await.expect(204);
        app.administer("DELETE", &path("chief", "admin")).await;
        app.ask(&jim, "GET", "/admin/users").await.problem(403, "permission_required");
        app.ask(&jim, "DELETE", &format!("/admin/users/{}", jim.id)).await.problem_of(403);
    }
}
