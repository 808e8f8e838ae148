//! Grants given and taken, one at a time, and permissions of one's own.

use serde_json::{Value, json};

use crate::support::{Account, Answer, TestApp, items, names, on_both_databases};

async fn post_permission(app: &TestApp, body: Value) -> Answer {
    app.tell(app.admin().await, "POST", "/admin/permissions", &body).await
}

async fn permission_names(app: &TestApp) -> Vec<String> {
    names(items(&app.ask(app.admin().await, "GET", "/admin/permissions").await.expect(200).json()), "name")
}

/// Asserts that the next request of this user, each way it can be asked, is decided so.
async fn assert_may(app: &TestApp, who: &Account, permission: &str, may: bool) {
    assert_eq!(app.passes(who, &format!("permission={permission}")).await, may, "verify {permission}");
    let body = json!({"checks": [{"permission": permission}]});
    let check = app.tell(who, "POST", "/authz/check", &body).await.expect(200).json();
    assert_eq!(check["results"], json!([may]), "check {permission}");
    let me = app.me(&who.access).await.expect(200).json();
    let listed = me["permissions"].as_array().unwrap().contains(&json!(permission));
    assert_eq!(listed, may, "me {permission}");
}

on_both_databases! {
    async fn a_grant_holds_for_the_next_request_and_so_does_its_end(app: TestApp) {
        app.make_role("runner", &[]).await;
        let john = app.user_with_roles("johndoe", &["runner"]).await;
        assert_may(&app, &john, "runs:delete", false).await;
        for grant in ["runs:delete", "runs%3Adelete", "runs:*", "*", "runs:%2A", "%2a"] {
            let path = format!("/admin/roles/runner/permissions/{grant}");
            assert!(app.administer("PUT", &path).await.body.is_empty());
            assert_may(&app, &john, "runs:delete", true).await;
            assert_eq!(app.role("runner").await["permissions"].as_array().unwrap().len(), 1, "{grant}");
            assert!(app.administer("DELETE", &path).await.body.is_empty());
            assert_may(&app, &john, "runs:delete", false).await;
        }
        assert_eq!(app.role("runner").await["permissions"], json!([]));
        // With the same token, in the same session, all along.
        app.me(&john.access).await.expect(200);
    }

    async fn a_wildcard_covers_one_resource_now_and_later(app: TestApp) {
        app.make_role("runner", &["runs:*"]).await;
        let john = app.holder("johndoe", &["runner"]).await;
        let [before, after] = [&["runs:create", "runs:read", "runs:update", "runs:delete"][..], &["runs:archive"]];
        for permission in before {
            assert_may(&app, &john, permission, true).await;
        }
        for permission in after {
            app.make_permission(permission).await;
            assert_may(&app, &john, permission, true).await;
        }
        for permission in ["projects:read", "reports:read", "users:manage"] {
            assert_may(&app, &john, permission, false).await;
        }
        // Of two grants for one permission, either is enough.
        app.administer("PUT", "/admin/roles/runner/permissions/runs:read").await;
        app.administer("DELETE", "/admin/roles/runner/permissions/runs:*").await;
        assert_may(&app, &john, "runs:read", true).await;
        assert_may(&app, &john, "runs:create", false).await;
        assert_eq!(app.role("runner").await["permissions"], json!(["runs:read"]));
    }

    async fn to_take_one_permission_is_not_to_take_a_wildcard(app: TestApp) {
        app.make_role("runner", &["runs:*", "projects:read"]).await;
        let john = app.holder("johndoe", &["runner"]).await;
        // Not granted by itself: nothing to take.
        app.administer("DELETE", "/admin/roles/runner/permissions/runs:read").await;
        app.administer("DELETE", "/admin/roles/runner/permissions/*").await;
        app.administer("DELETE", "/admin/roles/runner/permissions/projects:*").await;
        assert_eq!(app.role("runner").await["permissions"], json!(["projects:read", "runs:*"]));
        assert_may(&app, &john, "runs:read", true).await;
    }

    async fn a_repeated_grant_changes_nothing_and_is_audited_as_such(app: TestApp) {
        app.make_role("runner", &[]).await;
        for (method, action) in [("PUT", "GRANT_PERMISSION"), ("DELETE", "REVOKE_PERMISSION")] {
            for grant in ["runs:read", "projects:*", "*"] {
                let path = format!("/admin/roles/runner/permissions/{grant}");
                for changed in [true, false, false] {
                    let record = app.record_of(&app.administer(method, &path).await).await;
                    assert_eq!(record["action"], action);
                    assert_eq!(record["metadata"]["changed"], changed, "{method} {grant}: {record}");
                    assert_eq!(record["metadata"]["permission"], grant, "{record}");
                }
            }
        }
    }

    async fn what_is_no_permission_is_404_in_a_path(app: TestApp) {
        let admin = app.admin().await;
        app.make_role("runner", &[]).await;
        for permission in ["runs:fly", "nothing:read", "runs", "Runs:read", "runs:read:all", "*:read", "**", "runs:r*",
            "runs%20:read", "%00", "роль:read", ":", "runs:"]
        {
            for method in ["PUT", "DELETE"] {
                let path = format!("/admin/roles/runner/permissions/{permission}");
                app.ask(admin, method, &path).await.problem_of(404);
            }
        }
        assert_eq!(app.role("runner").await["permissions"], json!([]));
    }

    async fn a_permission_is_made_and_known_at_once(app: TestApp) {
        let john = app.user("johndoe").await;
        app.ask(&john, "GET", "/auth/verify?permission=data_sets:read-all").await.problem_of(422);
        let body = json!({"name": "data_sets:read-all", "description": "Read every data set"});
        let permission = post_permission(&app, body).await.expect(201).json();
        assert_eq!(permission, json!({"name": "data_sets:read-all", "description": "Read every data set",
            "is_built_in": false}));
        assert!(permission_names(&app).await.contains(&"data_sets:read-all".to_owned()));
        assert_may(&app, &john, "data_sets:read-all", false).await;
        assert!(app.passes(app.admin().await, "permission=data_sets:read-all").await);
        app.administer("PUT", "/admin/roles/viewer/permissions/data_sets:read-all").await;
        assert_may(&app, &john, "data_sets:read-all", true).await;
        // The name alone is enough.
        let bare = post_permission(&app, json!({"name": "a:b"})).await.expect(201).json();
        assert_eq!((&bare["name"], &bare["description"]), (&json!("a:b"), &json!("")));
    }

    async fn two_permissions_have_two_names(app: TestApp) {
        app.make_permission("runs:archive").await;
        for name in ["runs:archive", "runs:read", "users:manage"] {
            post_permission(&app, json!({"name": name})).await.problem(409, "permission_exists");
        }
        let calls = (0..6).map(|_| post_permission(&app, json!({"name": "races:win"})));
        let mut statuses: Vec<u16> =
            futures_util::future::join_all(calls).await.into_iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409, 409, 409]);
    }

    async fn a_permission_is_resource_and_action(app: TestApp) {
        let long = "a".repeat(65);
        for name in ["", "runs", "runs:", ":read", ":", "runs:read:all", "Runs:read", "runs:Read", "runs:*", "*:read",
            "*", "runs :read", " runs:read", "runs:read\n", "9runs:read", "runs:-x", "роль:read", "runs:re\u{0}ad",
            &format!("{long}:read"), &format!("runs:{long}")]
        {
            post_permission(&app, json!({"name": name})).await.invalid(&["name"]);
        }
        for name in [json!(5), Value::Null, json!(["runs:fly"])] {
            post_permission(&app, json!({"name": name})).await.invalid(&["name"]);
        }
        post_permission(&app, json!({})).await.invalid(&["name"]);
        post_permission(&app, json!({"name": "runs:fly", "description": 5})).await.invalid(&["description"]);
        assert_eq!(permission_names(&app).await.len(), 15);
        let longest = format!("{0}:{0}", "a".repeat(64));
        assert_eq!(post_permission(&app, json!({"name": longest})).await.expect(201).json()["name"], longest);
        app.make_role("long", &[&longest]).await;
    }

    async fn a_permission_that_a_role_names_stays(app: TestApp) {
        let admin = app.admin().await;
        app.make_permission("runs:archive").await;
        app.make_role("archivist", &["runs:archive", "runs:*"]).await;
        let john = app.holder("johndoe", &["archivist"]).await;
        let path = "/admin/permissions/runs:archive";
        app.ask(admin, "DELETE", path).await.problem(409, "permission_in_use");
        assert_may(&app, &john, "runs:archive", true).await;
        // A wildcard does not name it.
        app.administer("DELETE", "/admin/roles/archivist/permissions/runs:archive").await;
        assert_may(&app, &john, "runs:archive", true).await;
        assert!(app.administer("DELETE", path).await.body.is_empty());
        app.ask(&john, "GET", "/auth/verify?permission=runs:archive").await.problem_of(422);
        assert!(!app.me(&john.access).await.text().contains("archive"));
        assert_eq!(permission_names(&app).await.len(), 15);
        for name in ["runs:archive", "runs:fly", "runs", "*", "runs:*", "%00", "Runs:Read"] {
            app.ask(admin, "DELETE", &format!("/admin/permissions/{name}")).await.problem_of(404);
        }
        let grant = "/admin/roles/archivist/permissions/runs:archive";
        app.ask(admin, "PUT", grant).await.problem_of(404);
    }

    async fn a_permission_is_not_deleted_while_it_is_granted(app: TestApp) {
        // Of a grant and a deletion at the same moment, one is refused.
        let admin = app.admin().await;
        app.make_role("runner", &[]).await;
        for round in 0..10 {
            let (permission, grant) = ("/admin/permissions/runs:fly", "/admin/roles/runner/permissions/runs:fly");
            app.make_permission("runs:fly").await;
            let (deleted, granted) = tokio::join!(app.ask(admin, "DELETE", permission), app.ask(admin, "PUT", grant));
            match (deleted.status, granted.status) {
                (204, 404) => assert_eq!(app.role("runner").await["permissions"], json!([]), "round {round}"),
                (409, 204) => {
                    deleted.problem(409, "permission_in_use");
                    app.administer("DELETE", grant).await;
                    app.administer("DELETE", permission).await;
                }
                _ => panic!("round {round}: {} {} {}", deleted.status, granted.status, granted.text()),
            }
        }
    }
}
