//! `/auth/verify` for proxies and `POST /authz/check` for services: may they?

use serde_json::{Value, json};

use crate::support::{Account, Answer, TestApp, on_both_databases};

async fn verify(app: &TestApp, who: &Account, query: &str) -> Answer {
    app.get(&format!("/auth/verify{query}")).bearer(&who.access).send().await
}

#[track_caller]
fn assert_user_headers(answer: &Answer, who: &Account, roles: &str) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-user-id"), Some(who.id.as_str()));
    assert_eq!(answer.header("x-username"), Some(who.username.as_str()));
    assert_eq!(answer.header("x-user-roles"), Some(roles));
}

async fn check(app: &TestApp, who: &Account, body: Value) -> Answer {
    app.post("/authz/check").bearer(&who.access).json(&body).send().await
}

on_both_databases! {
    async fn a_proxy_is_told_who_is_asking(app: TestApp) {
        let john = app.user_with_roles("johndoe", &["analyst"]).await;
        assert_user_headers(&verify(&app, &john, "").await, &john, "analyst,viewer");
        assert_user_headers(&verify(&app, &john, "?permission=projects:create").await, &john, "analyst,viewer");
        assert_user_headers(&verify(&app, &john, "?permission=projects%3Acreate").await, &john, "analyst,viewer");
        assert_user_headers(&verify(&app, &john, "?role=analyst").await, &john, "analyst,viewer");
        app.set_role("DELETE", &john.id, "analyst").await;
        app.set_role("DELETE", &john.id, "viewer").await;
        assert_user_headers(&verify(&app, &john, "").await, &john, "");
        app.get("/auth/verify").send().await.problem(401, "not_authenticated");
        app.get("/auth/verify?permission=projects:read").send().await.problem(401, "not_authenticated");
    }

    async fn all_that_is_asked_must_hold(app: TestApp) {
        let john = app.user("johndoe").await;
        let two = "?permission=projects:read&permission=reports:read&role=viewer";
        assert_user_headers(&verify(&app, &john, two).await, &john, "viewer");
        let refused = verify(&app, &john, "?permission=projects:create").await;
        assert_eq!(refused.problem(403, "permission_required")["detail"], "Permission required: projects:create");
        let refused = verify(&app, &john, "?role=admin").await;
        assert_eq!(refused.problem(403, "role_required")["detail"], "Role required: admin");
        for query in [
            "?permission=projects:read&permission=projects:create",
            "?permission=projects:create&permission=projects:read",
            "?role=viewer&permission=audit:read",
        ] {
            verify(&app, &john, query).await.problem(403, "permission_required");
        }
        verify(&app, &john, "?role=viewer&role=analyst").await.problem(403, "role_required");
    }

    async fn a_superuser_passes_every_check(app: TestApp) {
        let admin = app.admin().await;
        for query in ["?role=viewer", "?role=analyst", "?role=admin", "?permission=audit:read&permission=models:manage"]
        {
            verify(&app, admin, query).await.expect(200);
        }
        let roles = verify(&app, admin, "").await;
        assert!(roles.header("x-user-roles").unwrap().split(',').any(|role| role == "admin"));
    }

    async fn what_is_unknown_is_never_allowed(app: TestApp) {
        // Not even to one who has every permission.
        let admin = app.admin().await;
        for query in [
            "?permission=projcts:create",
            "?permission=",
            "?permission=projects",
            "?permission=projects:",
            "?permission=projects:*",
            "?permission=*",
            "?role=",
            "?role=amdin",
            "?role=Admin",
            "?permissions=projects:read",
            "?scope=x",
            "?permission=projects:read&role=",
            "?permission=projects:read&x=1",
            "?=",
        ] {
            let answer = verify(&app, admin, query).await;
            assert_eq!(answer.status, 422, "{query}: {}", answer.text());
            answer.problem_of(422);
        }
    }

    async fn any_method_is_answered_alike(app: TestApp) {
        let john = app.user("johndoe").await;
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
            let call = |query: &str| app.call(method, &format!("/auth/verify{query}")).bearer(&john.access).send();
            assert_user_headers(&call("").await, &john, "viewer");
            call("?role=admin").await.expect(403);
            app.call(method, "/auth/verify").send().await.expect(401);
        }
        let post = app.post("/auth/verify?role=viewer").bearer(&john.access);
        assert_user_headers(&post.body("text/plain", "a body that is not ours to read").send().await, &john, "viewer");
    }

    async fn behind_the_verify_path_only_the_token_is_decided(app: TestApp) {
        let john = app.user("johndoe").await;
        for path in ["/", "/api/projects", "/api/projects?permission=nonsense&role=admin", "/a/b/c/../d?x=1"] {
            for method in ["GET", "POST", "DELETE"] {
                let answer = app.call(method, &format!("/auth/verify{path}")).bearer(&john.access).send().await;
                assert_user_headers(&answer, &john, "viewer");
            }
            app.get(&format!("/auth/verify{path}")).send().await.problem(401, "not_authenticated");
            app.get(&format!("/auth/verify{path}")).bearer(&john.refresh).send().await.problem(401, "token_invalid");
        }
    }

    async fn at_most_100_things_are_asked_at_once(app: TestApp) {
        let john = app.user("johndoe").await;
        let many = |pair: &str, n: usize| format!("?{}", vec![pair; n].join("&"));
        assert_user_headers(&verify(&app, &john, &many("permission=projects:read", 100)).await, &john, "viewer");
        for pair in ["permission=projects:read", "role=viewer", "permission=nonsense", "x"] {
            let answer = verify(&app, &john, &many(pair, 101)).await;
            assert_eq!(answer.status, 422, "{pair}: {}", answer.text());
            answer.problem_of(422);
        }
        // Behind the path the query is the client's.
        assert_user_headers(&verify(&app, &john, &format!("/x{}", many("role=admin", 101))).await, &john, "viewer");
    }

    async fn what_is_asked_twice_is_recorded_once(app: TestApp) {
        let john = app.user("johndoe").await;
        let [one, other, role] = ["permission=projects:read", "permission=reports:read", "role=viewer"];
        let twice = format!("?{one}&{role}&{other}&{one}&{role}");
        let record = app.record_of(&verify(&app, &john, &twice).await.expect(200)).await;
        let required = record["metadata"]["required"].as_array().unwrap_or_else(|| panic!("{record}"));
        let mut required: Vec<&str> = required.iter().filter_map(Value::as_str).collect();
        required.sort_unstable();
        assert_eq!(required, ["projects:read", "reports:read", "viewer"], "{record}");
    }

    async fn checks_are_answered_in_order(app: TestApp) {
        let john = app.user("johndoe").await;
        let checks = json!([{"permission": "projects:create"}, {"permission": "projects:read"}, {"role": "viewer"},
            {"role": "admin"}, {"permission": "reports:read"}]);
        let answer = check(&app, &john, json!({"checks": checks})).await.expect(200).json();
        assert_eq!(answer, json!({"results": [false, true, true, false, true]}));
        let own = json!({"user_id": john.id, "checks": [{"role": "viewer"}]});
        assert_eq!(check(&app, &john, own).await.expect(200).json()["results"], json!([true]));
    }

    async fn another_account_is_checked_only_by_who_may_read_users(app: TestApp) {
        let [john, jane] = [app.user("johndoe").await, app.user("janedoe").await];
        let body = json!({"user_id": jane.id, "checks": [{"role": "viewer"}, {"role": "analyst"}]});
        let refused = check(&app, &john, body.clone()).await;
        assert_eq!(refused.problem(403, "permission_required")["detail"], "Permission required: users:read");
        let admin = app.admin().await;
        assert_eq!(check(&app, admin, body.clone()).await.expect(200).json()["results"], json!([true, false]));
        app.change_user(&jane.id, json!({"is_active": false})).await;
        assert_eq!(check(&app, admin, body).await.expect(200).json()["results"], json!([false, false]));
        let nobody = json!({"user_id": "0197f1d0-0000-7000-8000-000000000000", "checks": [{"role": "viewer"}]});
        // Unknown: a 404, or nothing that holds; never yes.
        let answer = check(&app, admin, nobody).await.expect_one_of(&[200, 404, 422]);
        assert!(!answer.text().contains("true"), "{}", answer.text());
    }

    async fn a_superuser_has_all_that_is_checked(app: TestApp) {
        let body = json!({"checks": [{"permission": "models:manage"}, {"role": "viewer"}, {"role": "admin"}]});
        let answer = check(&app, app.admin().await, body).await.expect(200).json();
        assert_eq!(answer["results"], json!([true, true, true]));
    }

    async fn between_1_and_100_well_formed_checks_are_taken(app: TestApp) {
        let john = app.user("johndoe").await;
        let many = |n: usize| json!({"checks": vec![json!({"role": "viewer"}); n]});
        check(&app, &john, many(0)).await.invalid(&["checks"]);
        check(&app, &john, many(101)).await.invalid(&["checks"]);
        check(&app, &john, json!({})).await.invalid(&["checks"]);
        check(&app, &john, json!({"checks": {"role": "viewer"}})).await.invalid(&["checks"]);
        assert_eq!(check(&app, &john, many(100)).await.expect(200).json()["results"].as_array().unwrap().len(), 100);
        let third = json!({"checks": [{"role": "viewer"}, {"role": "viewer"}, {"role": "viewer"}, {"permission": 5}]});
        check(&app, &john, third).await.invalid(&["checks[3].permission"]);
        let malformed = json!({"checks": [{"role": "viewer"}, {"permission": "not a permission"}]});
        check(&app, &john, malformed).await.invalid(&["checks[1].permission"]);
        check(&app, &john, json!({"checks": [{}]})).await.problem_of(422);
        check(&app, &john, json!({"checks": [{"role": "viewer", "permission": "projects:read"}]}))
            .await
            .problem_of(422);
        check(&app, &john, json!({"user_id": "x", "checks": [{"role": "viewer"}]})).await.expect_one_of(&[404, 422]);
    }

    async fn a_check_is_an_object(app: TestApp) {
        let john = app.user("johndoe").await;
        for wrong in [
            json!(["projects:read", null]),
            json!([null, "viewer"]),
            json!(["projects:read"]),
            json!([]),
            json!("projects:read"),
            json!(5),
            json!(true),
            json!(null),
        ] {
            let answer = check(&app, &john, json!({"checks": [wrong]})).await;
            assert_eq!(answer.status, 422, "{wrong}: {}", answer.text());
            answer.invalid(&["checks[0]"]);
            // Words of the language that this is written in mean nothing to a caller.
            for word in ["struct", "tuple", "enum", "option", "deserializ"] {
                assert!(!answer.text().to_lowercase().contains(word), "{wrong}: {}", answer.text());
            }
            let second = json!({"checks": [{"role": "viewer"}, wrong]});
            check(&app, &john, second).await.invalid(&["checks[1]"]);
        }
    }
}
