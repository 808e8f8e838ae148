//! No one hands out what they lack: grants, roles, includes, and the superuser's flag.

use serde_json::{Value, json};

use crate::support::{Account, NOBODY, TestApp, on_both_databases};

/// A user of these roles who may manage users, and looks after viewers.
async fn manager(app: &TestApp, name: &str, roles: &[&str]) -> Account {
    let all: Vec<&str> = ["support", "viewer"].iter().chain(roles).copied().collect();
    app.holder(name, &all).await
}

/// The role of managers, and nothing besides.
async fn make_support(app: &TestApp) {
    app.make_role("support", &["users:read", "users:manage"]).await;
}

/// Tries each request as this user: 204 where it is allowed, else 403 `escalation`.
async fn assert_each(app: &TestApp, who: &Account, method: &str, cases: &[(String, bool)]) {
    for (path, is_allowed) in cases {
        let answer = app.ask(who, method, path).await;
        let name = &who.username;
        let expected = if *is_allowed { 204 } else { 403 };
        assert_eq!(answer.status, expected, "{name}: {method} {path}: {}", answer.text());
        if !is_allowed {
            assert_eq!(answer.problem_of(403)["code"], "escalation", "{name}: {method} {path}");
        }
    }
}

fn grants(cases: &[(&str, bool)]) -> Vec<(String, bool)> {
    cases.iter().map(|(grant, may)| (format!("/admin/roles/target/permissions/{grant}"), *may)).collect()
}

const FOUR: [&str; 4] = ["projects:create", "projects:read", "projects:update", "projects:delete"];

on_both_databases! {
    async fn who_may_not_is_told_so_before_what_there_is(app: TestApp) {
        let john = app.user_with_roles("johndoe", &["analyst"]).await;
        app.make_role("reader", &["users:read"]).await;
        let rita = app.holder("rita", &["reader"]).await;
        let root = app.admin().await.id.clone();
        let (read, manage) = ("Permission required: users:read", "Permission required: users:manage");
        let mut cases: Vec<(&str, String, &str)> = Vec::new();
        for id in [root.as_str(), NOBODY, "not-a-uuid"] {
            cases.push(("GET", format!("/admin/users/{id}/permissions"), read));
            cases.push(("GET", format!("/admin/users/{id}/sessions"), read));
            cases.push(("DELETE", format!("/admin/users/{id}/sessions"), manage));
            cases.push(("POST", format!("/admin/users/{id}/unlock"), manage));
            cases.push(("DELETE", format!("/admin/users/{id}"), "Role required: admin"));
        }
        for role in ["viewer", "nothing", "Not%20A%20Role"] {
            cases.push(("GET", format!("/admin/roles/{role}"), read));
            cases.push(("PATCH", format!("/admin/roles/{role}"), manage));
            cases.push(("DELETE", format!("/admin/roles/{role}"), manage));
            for method in ["PUT", "DELETE"] {
                for permission in ["projects:read", "nothing:read", "*", "junk"] {
                    cases.push((method, format!("/admin/roles/{role}/permissions/{permission}"), manage));
                }
                for other in ["viewer", "nothing", "admin"] {
                    cases.push((method, format!("/admin/roles/{role}/includes/{other}"), manage));
                }
            }
        }
        for permission in ["projects:read", "nothing:read", "junk"] {
            cases.push(("DELETE", format!("/admin/permissions/{permission}"), manage));
        }
        for path in ["/admin/users", "/admin/roles", "/admin/permissions"] {
            cases.push(("POST", path.to_owned(), manage));
        }
        for (method, path, detail) in &cases {
            for who in [&john, &rita] {
                let is_readers = *detail == read && who.username == "rita";
                let call = app.call(method, path).bearer(&who.access);
                let call = if ["PATCH", "POST"].contains(method) { call.json(&json!([])) } else { call };
                let answer = call.send().await;
                if is_readers {
                    assert!([200, 404].contains(&answer.status), "{method} {path}: {}", answer.text());
                } else {
                    let problem = answer.problem_of(403);
                    assert_eq!(problem["detail"], *detail, "{}: {method} {path}: {problem}", who.username);
                }
            }
            app.call(method, path).send().await.problem(401, "not_authenticated");
        }
    }

    async fn a_grant_needs_all_that_it_covers_now_and_later(app: TestApp) {
        make_support(&app).await;
        for (role, permissions) in
            [("target", &[][..]), ("keeper", &FOUR), ("wild", &["projects:*"]), ("star", &["*"])]
        {
            app.make_role(role, permissions).await;
        }
        // All four that there are, one by one, are not all that will be.
        let kim = manager(&app, "kim", &["keeper"]).await;
        let of_keeper = [("projects:create", true), ("projects:delete", true), ("users:manage", true),
            ("projects:*", false), ("*", false), ("runs:read", false), ("runs:*", false), ("users:*", false)];
        assert_each(&app, &kim, "PUT", &grants(&of_keeper)).await;
        let wanda = manager(&app, "wanda", &["wild"]).await;
        app.make_permission("projects:archive").await;
        let of_wild = [("projects:*", true), ("projects:read", true), ("projects:archive", true), ("*", false),
            ("runs:read", false), ("users:*", false)];
        assert_each(&app, &wanda, "PUT", &grants(&of_wild)).await;
        assert_each(&app, &kim, "PUT", &grants(&[("projects:archive", false)])).await;
        let stella = manager(&app, "stella", &["star"]).await;
        let of_star = [("*", true), ("runs:*", true), ("audit:read", true), ("models:manage", true)];
        assert_each(&app, &stella, "PUT", &grants(&of_star)).await;
        let jim = app.holder("jim", &["admin"]).await;
        assert_each(&app, &jim, "PUT", &grants(&[("*", true), ("models:*", true), ("reports:export", true)])).await;
        let granted = app.role("target").await["permissions"].clone();
        assert_eq!(granted, json!(["*", "audit:read", "models:*", "models:manage", "projects:*", "projects:archive",
            "projects:create", "projects:delete", "projects:read", "reports:export", "runs:*", "users:manage"]));
    }

    async fn fifteen_permissions_one_by_one_are_not_all(app: TestApp) {
        let list = app.ask(app.admin().await, "GET", "/admin/permissions").await.expect(200).json();
        let all = crate::support::names(crate::support::items(&list), "name");
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        app.make_role("fifteen", &all).await;
        app.make_role("target", &[]).await;
        let fay = app.holder("fay", &["fifteen"]).await;
        assert_each(&app, &fay, "PUT", &grants(&[("*", false), ("users:*", false), ("audit:read", true)])).await;
        let body = json!({"name": "mine", "permissions": ["*"]});
        app.tell(&fay, "POST", "/admin/roles", &body).await.problem(403, "escalation");
    }

    async fn a_new_role_grants_only_what_its_maker_has(app: TestApp) {
        make_support(&app).await;
        app.make_role("keeper", &FOUR).await;
        let kim = manager(&app, "kim", &["keeper"]).await;
        for permissions in [json!(["*"]), json!(["projects:*"]), json!(["projects:read", "runs:read"])] {
            let body = json!({"name": "mine", "permissions": permissions});
            app.tell(&kim, "POST", "/admin/roles", &body).await.problem(403, "escalation");
        }
        app.ask(app.admin().await, "GET", "/admin/roles/mine").await.problem_of(404);
        let body = json!({"name": "mine", "permissions": ["projects:delete", "users:read"]});
        app.tell(&kim, "POST", "/admin/roles", &body).await.expect(201);
        // A role of its own making is not a role that it has.
        let john = app.make_user("johndoe", &["viewer"]).await;
        app.ask(&kim, "PUT", &format!("/admin/users/{john}/roles/mine")).await.problem(403, "escalation");
        app.ask(&kim, "PUT", &format!("/admin/users/{}/roles/mine", kim.id)).await.problem(403, "escalation");
    }

    async fn a_role_is_assigned_and_included_by_who_has_it(app: TestApp) {
        make_support(&app).await;
        let analysts = app.role("analyst").await["permissions"].clone();
        let analysts: Vec<&str> = analysts.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        // The same permissions under another name.
        app.make_role("twin", &analysts).await;
        for role in ["lead", "guild", "star", "open"] {
            app.make_role(role, if role == "star" { &["*"] } else { &[] }).await;
        }
        app.include("lead", "analyst").await;
        let john = app.make_user("johndoe", &[]).await;
        let [sam, tina, lea, stella, jim] = [
            manager(&app, "sam", &[]).await,
            manager(&app, "tina", &["twin"]).await,
            manager(&app, "lea", &["lead"]).await,
            manager(&app, "stella", &["star"]).await,
            app.holder("jim", &["admin"]).await,
        ];
        let roles = ["viewer", "support", "analyst", "twin", "lead", "guild", "star", "admin"];
        for (who, allowed) in [
            (&sam, &["viewer", "support"][..]),
            (&tina, &["viewer", "support", "twin"]),
            // Who includes a role has it.
            (&lea, &["viewer", "support", "lead", "analyst"]),
            // All permissions are not all roles: an empty one opens doors too.
            (&stella, &["viewer", "support", "star"]),
            (&jim, &roles),
        ] {
            for role in roles {
                let assign = format!("/admin/users/{john}/roles/{role}");
                let include = format!("/admin/roles/open/includes/{role}");
                let may = allowed.contains(&role);
                assert_each(&app, who, "PUT", &[(assign.clone(), may), (include.clone(), may)]).await;
                if may {
                    app.administer("DELETE", &assign).await;
                    app.administer("DELETE", &include).await;
                }
            }
        }
        // Nor to oneself.
        assert_each(&app, &sam, "PUT", &[(format!("/admin/users/{}/roles/analyst", sam.id), false)]).await;
        assert_each(&app, &sam, "PUT", &[("/admin/roles/support/includes/admin".into(), false)]).await;
        assert_each(&app, &sam, "PUT", &[("/admin/roles/support/permissions/runs:read".into(), false)]).await;
        assert_eq!(app.role("open").await["includes"], json!([]));
    }

    async fn only_a_superuser_makes_superusers(app: TestApp) {
        let root = app.admin().await;
        let jim = app.holder("jim", &["admin"]).await;
        let john = app.make_user("johndoe", &["viewer"]).await;
        for id in [&john, &jim.id] {
            for flag in [true, false] {
                let change = json!({"is_superuser": flag});
                app.tell(&jim, "PATCH", &format!("/admin/users/{id}"), &change).await.problem(403, "escalation");
            }
        }
        let mut body = TestApp::registration("janedoe");
        body["is_superuser"] = json!(true);
        let answer = app.tell(&jim, "POST", "/admin/users", &body).await.expect_one_of(&[201, 403]);
        assert!(answer.status == 403 || answer.json()["is_superuser"] == false, "{}", answer.text());
        let superusers = app.database().scalar("SELECT count(*) FROM users WHERE is_superuser").await;
        assert_eq!(superusers.as_deref(), Some("1"));
        app.tell(root, "PATCH", &format!("/admin/users/{john}"), &json!({"is_superuser": true})).await.expect(200);
    }

    async fn what_was_lost_is_handed_out_no_more(app: TestApp) {
        // The right is judged by what holds now, not by what held at login.
        make_support(&app).await;
        app.make_role("wild", &["projects:*"]).await;
        app.make_role("target", &[]).await;
        let wanda = manager(&app, "wanda", &["wild"]).await;
        let grant = grants(&[("projects:*", true)]);
        assert_each(&app, &wanda, "PUT", &grant).await;
        app.administer("DELETE", "/admin/roles/target/permissions/projects:*").await;
        app.administer("DELETE", "/admin/roles/wild/permissions/projects:*").await;
        assert_each(&app, &wanda, "PUT", &grants(&[("projects:*", false), ("projects:create", false)])).await;
        app.administer("PUT", "/admin/roles/wild/permissions/*").await;
        assert_each(&app, &wanda, "PUT", &grant).await;
        app.administer("DELETE", "/admin/roles/support/permissions/users:manage").await;
        app.administer("DELETE", "/admin/roles/wild/permissions/*").await;
        app.ask(&wanda, "PUT", &grant[0].0).await.problem(403, "permission_required");
    }
}
