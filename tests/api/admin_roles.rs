//! `/admin/roles` and `/admin/permissions`: roles of one's own, and what they grant.

use serde_json::{Value, json};

use crate::support::{TestApp, items, names, on_both_databases};

async fn post_role(app: &TestApp, body: Value) -> crate::support::Answer {
    app.tell(app.admin().await, "POST", "/admin/roles", &body).await
}

/// The names of the roles that there are.
async fn role_names(app: &TestApp) -> Vec<String> {
    names(items(&app.ask(app.admin().await, "GET", "/admin/roles").await.expect(200).json()), "name")
}

on_both_databases! {
    async fn a_role_is_made_and_read_and_listed(app: TestApp) {
        let admin = app.admin().await;
        let body = json!({"name": "runner", "description": "Runs things", "permissions": ["runs:*", "projects:read"]});
        let answer = post_role(&app, body).await.expect(201);
        let expected = json!({"name": "runner", "description": "Runs things", "is_built_in": false,
            "permissions": ["projects:read", "runs:*"], "includes": []});
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(answer.json()[field], *value, "{field}: {}", answer.text());
        }
        let location = answer.header("location").expect("a Location");
        assert_eq!(app.ask(admin, "GET", location).await.expect(200).json(), answer.json());
        assert_eq!(app.role("runner").await, answer.json());
        assert_eq!(role_names(&app).await, ["admin", "analyst", "runner", "viewer"]);
        let list = app.ask(admin, "GET", "/admin/roles").await.expect(200).json();
        assert!(items(&list).contains(&answer.json()), "{list}");
        // The name alone is enough.
        let bare = post_role(&app, json!({"name": "bare"})).await.expect(201).json();
        assert_eq!((&bare["permissions"], &bare["includes"]), (&json!([]), &json!([])));
        assert_eq!(bare["description"], "");
        let all = post_role(&app, json!({"name": "all", "permissions": ["*"]})).await.expect(201).json();
        assert_eq!(all["permissions"], json!(["*"]));
        assert_eq!(app.role("admin").await["permissions"], json!(["*"]));
        assert_eq!(app.role("viewer").await["permissions"], json!(["projects:read", "reports:read"]));
        // Twice the same is once.
        let twice = json!({"name": "twice", "permissions": ["runs:read", "runs:read"]});
        let twice = post_role(&app, twice).await.expect_one_of(&[201, 422]);
        assert!(twice.status == 422 || twice.json()["permissions"] == json!(["runs:read"]), "{}", twice.text());
    }

    async fn an_unknown_role_is_404(app: TestApp) {
        let admin = app.admin().await;
        for name in ["no-such-role", "Not%20A%20Role", "Viewer", "%00", &"a".repeat(65)] {
            app.ask(admin, "GET", &format!("/admin/roles/{name}")).await.problem_of(404);
            app.ask(admin, "DELETE", &format!("/admin/roles/{name}")).await.problem_of(404);
            let change = json!({"description": "X"});
            app.tell(admin, "PATCH", &format!("/admin/roles/{name}"), &change).await.problem_of(404);
            for method in ["PUT", "DELETE"] {
                app.ask(admin, method, &format!("/admin/roles/{name}/permissions/runs:read")).await.problem_of(404);
            }
        }
    }

    async fn two_roles_have_two_names(app: TestApp) {
        app.make_role("runner", &["runs:read"]).await;
        for name in ["runner", "viewer", "admin"] {
            post_role(&app, json!({"name": name, "permissions": ["runs:delete"]})).await.problem(409, "role_exists");
        }
        assert_eq!(app.role("runner").await["permissions"], json!(["runs:read"]));
        let calls = (0..6).map(|_| post_role(&app, json!({"name": "racer"})));
        let mut statuses: Vec<u16> =
            futures_util::future::join_all(calls).await.into_iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409, 409, 409]);
    }

    async fn a_role_has_a_plain_name(app: TestApp) {
        for name in ["", " ", "two words", "роль", "röle", "Runner", "RUNNER", "9lives", "-dash", "_line", "a.b",
            "a/b", "a:b", "*", "a,b", " runner", "runner\n", "run\u{0}ner", &"a".repeat(65)]
        {
            post_role(&app, json!({"name": name})).await.invalid(&["name"]);
        }
        for name in [json!(5), json!(["runner"]), Value::Null] {
            post_role(&app, json!({"name": name})).await.invalid(&["name"]);
        }
        post_role(&app, json!({"description": "nameless"})).await.invalid(&["name"]);
        post_role(&app, json!([])).await.problem_of(422);
        for name in ["a", "a-b_9", "z9", &"a".repeat(64)] {
            let role = post_role(&app, json!({"name": name})).await.expect(201).json();
            assert_eq!(role["name"], name);
            assert_eq!(app.role(name).await, role);
        }
        assert_eq!(role_names(&app).await.len(), 3 + 4);
    }

    async fn a_role_grants_only_what_there_is(app: TestApp) {
        for (permissions, field) in [
            (json!(["projects:fly"]), "permissions[0]"),
            (json!(["projects:read", "nothing:read"]), "permissions[1]"),
            (json!(["projects"]), "permissions[0]"),
            (json!(["*:read"]), "permissions[0]"),
            (json!(["projects:re*"]), "permissions[0]"),
            (json!(["projects:*:*"]), "permissions[0]"),
            (json!(["**"]), "permissions[0]"),
            (json!([""]), "permissions[0]"),
            (json!(["projects:read", 5]), "permissions[1]"),
            (json!("projects:read"), "permissions"),
        ] {
            post_role(&app, json!({"name": "runner", "permissions": permissions})).await.invalid(&[field]);
        }
        post_role(&app, json!({"name": "runner", "description": 5})).await.invalid(&["description"]);
        post_role(&app, json!({"name": "runner", "description": "a\u{0}b"})).await.invalid(&["description"]);
        assert_eq!(role_names(&app).await, ["admin", "analyst", "viewer"]);
    }

    async fn of_a_role_only_the_description_is_changed(app: TestApp) {
        let admin = app.admin().await;
        app.make_role("runner", &["runs:read"]).await;
        let change = json!({"description": "Läuft", "name": "walker", "is_built_in": true, "permissions": ["*"],
            "includes": ["admin"]});
        let changed = app.tell(admin, "PATCH", "/admin/roles/runner", &change).await.expect(200).json();
        assert_eq!(changed, json!({"name": "runner", "description": "Läuft", "is_built_in": false,
            "permissions": ["runs:read"], "includes": []}));
        assert_eq!(app.role("runner").await, changed);
        assert_eq!(app.tell(admin, "PATCH", "/admin/roles/runner", &json!({})).await.expect(200).json(), changed);
        for bad in [json!(5), json!(["x"]), json!("a\u{0}b")] {
            let change = json!({"description": bad});
            app.tell(admin, "PATCH", "/admin/roles/runner", &change).await.invalid(&["description"]);
        }
        app.tell(admin, "PATCH", "/admin/roles/runner", &json!([])).await.problem_of(422);
        assert_eq!(app.role("runner").await, changed);
    }

    async fn a_deleted_role_is_gone_with_its_assignments(app: TestApp) {
        let admin = app.admin().await;
        app.make_role("runner", &["runs:delete"]).await;
        let john = app.user_with_roles("johndoe", &["runner"]).await;
        assert!(app.passes(&john, "permission=runs:delete&role=runner").await);
        assert!(app.administer("DELETE", "/admin/roles/runner").await.body.is_empty());
        assert!(!app.passes(&john, "permission=runs:delete").await);
        app.ask(&john, "GET", "/auth/verify?role=runner").await.problem_of(422);
        let me = app.me(&john.access).await.expect(200).json();
        assert_eq!(me["roles"], json!(["viewer"]));
        for method in ["GET", "DELETE"] {
            app.ask(admin, method, "/admin/roles/runner").await.problem_of(404);
        }
        app.ask(admin, "PUT", &format!("/admin/users/{}/roles/runner", john.id)).await.problem_of(404);
        // A later one of that name starts empty: no grants, and nobody has it.
        let anew = app.make_role("runner", &[]).await;
        assert_eq!(anew["permissions"], json!([]));
        assert!(!app.passes(&john, "role=runner").await);
        assert_eq!(app.me(&john.access).await.expect(200).json()["roles"], json!(["viewer"]));
        app.administer("PUT", "/admin/roles/runner/permissions/runs:delete").await;
        assert!(!app.passes(&john, "permission=runs:delete").await);
    }

    async fn the_built_in_ones_stay(app: TestApp) {
        let admin = app.admin().await;
        for role in ["admin", "analyst", "viewer"] {
            app.ask(admin, "DELETE", &format!("/admin/roles/{role}")).await.problem(409, "built_in");
            app.role(role).await;
        }
        for grant in ["*", "%2A", "projects:read"] {
            let path = format!("/admin/roles/admin/permissions/{grant}");
            app.ask(admin, "DELETE", &path).await.problem(409, "built_in");
        }
        assert_eq!(app.role("admin").await["permissions"], json!(["*"]));
        // Those that no role names; the others are in use besides.
        for permission in
            ["audit:read", "models:manage", "projects:delete", "runs:delete", "users:manage", "users:read"]
        {
            app.ask(admin, "DELETE", &format!("/admin/permissions/{permission}")).await.problem(409, "built_in");
        }
        app.ask(admin, "DELETE", "/admin/permissions/projects:read").await.problem_of(409);
        let permissions = app.ask(admin, "GET", "/admin/permissions").await.expect(200).json();
        assert_eq!(items(&permissions).len(), 15);
        // What the other two grant is the administrator's to choose, and how they are described.
        app.administer("DELETE", "/admin/roles/viewer/permissions/reports:read").await;
        app.administer("PUT", "/admin/roles/viewer/permissions/models:read").await;
        assert_eq!(app.role("viewer").await["permissions"], json!(["models:read", "projects:read"]));
        let change = json!({"description": "Looks only"});
        let changed = app.tell(admin, "PATCH", "/admin/roles/viewer", &change).await.expect(200).json();
        assert_eq!((&changed["description"], &changed["is_built_in"]), (&json!("Looks only"), &json!(true)));
    }
}
