//! `POST` and `DELETE /admin/users`: accounts that an administrator makes and unmakes.

use serde_json::{Value, json};

use crate::support::{
    Account, Answer, Database, NOBODY, TestApp, assert_uuid_v7, field_codes, items, names, on_both_databases,
};

async fn create(app: &TestApp, who: &Account, body: &Value) -> Answer {
    app.tell(who, "POST", "/admin/users", body).await
}

/// The registration's body with one field more, or another.
fn with(name: &str, field: &str, value: Value) -> Value {
    let mut body = TestApp::registration(name);
    body[field] = value;
    body
}

/// The names of all users that begin so.
async fn found(app: &TestApp, prefix: &str) -> Vec<String> {
    let path = format!("/admin/users?q={prefix}");
    names(items(&app.ask(app.admin().await, "GET", &path).await.expect(200).json()), "username")
}

on_both_databases! {
    async fn an_administrator_makes_a_user_who_can_sign_in(app: TestApp) {
        let admin = app.admin().await;
        let answer = create(&app, admin, &with("johndoe", "full_name", json!("John Doe"))).await.expect(201);
        let user = answer.json();
        assert_uuid_v7(&user["id"]);
        let expected = json!({"username": "johndoe", "email": "johndoe@example.com", "full_name": "John Doe",
            "email_verified": false, "is_active": true, "is_superuser": false, "roles": ["viewer"],
            "last_login_at": null});
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(user[field], *value, "{field}: {user}");
        }
        assert!(!answer.text().contains("securepassword123") && !answer.text().contains("$2"), "{user}");
        let location = answer.header("location").expect("a Location");
        assert_eq!(app.ask(admin, "GET", location).await.expect(200).json(), user);
        let john = app.login("johndoe", "securepassword123").await;
        assert_eq!(json!(john.id), user["id"]);
        assert!(app.passes(&john, "permission=projects:read").await);
        assert!(!app.passes(&john, "permission=projects:create").await);
    }

    async fn roles_that_are_given_stand_in_place_of_the_default_one(app: TestApp) {
        let admin = app.admin().await;
        for (name, roles) in [
            ("ann", json!(["analyst"])),
            ("bea", json!(["admin", "analyst"])),
            ("cleo", json!([])),
            ("dora", json!(["viewer"])),
        ] {
            let user = create(&app, admin, &with(name, "roles", roles.clone())).await.expect(201).json();
            assert_eq!(user["roles"], roles, "{name}");
            let account = app.login(name, "securepassword123").await;
            assert_eq!(app.me(&account.access).await.expect(200).json()["roles"], roles, "{name}");
        }
        // Shown sorted, in whatever order they were asked for.
        let user = create(&app, admin, &with("emma", "roles", json!(["viewer", "analyst"]))).await.expect(201).json();
        assert_eq!(user["roles"], json!(["analyst", "viewer"]));
    }

    async fn an_unknown_role_makes_no_user_and_is_named(app: TestApp) {
        let admin = app.admin().await;
        for (roles, field) in [
            (json!(["no-such-role"]), "roles[0]"),
            (json!(["viewer", "no-such-role"]), "roles[1]"),
            (json!(["viewer", "analyst", "Not A Role"]), "roles[2]"),
            (json!([""]), "roles[0]"),
            (json!(["viewer", 5]), "roles[1]"),
            (json!([null]), "roles[0]"),
            (json!("viewer"), "roles"),
            (json!({"viewer": true}), "roles"),
        ] {
            create(&app, admin, &with("johndoe", "roles", roles)).await.invalid(&[field]);
        }
        assert_eq!(found(&app, "johndoe").await, Vec::<String>::new());
        create(&app, admin, &TestApp::registration("johndoe")).await.expect(201);
    }

    async fn a_role_that_the_caller_lacks_is_not_given_to_a_new_user(app: TestApp) {
        app.make_role("support", &["users:read", "users:manage"]).await;
        let sam = app.holder("sam", &["support", "viewer"]).await;
        for roles in [json!(["admin"]), json!(["analyst"]), json!(["viewer", "admin"])] {
            create(&app, &sam, &with("johndoe", "roles", roles)).await.problem(403, "escalation");
        }
        assert_eq!(found(&app, "johndoe").await, Vec::<String>::new());
        for (name, roles) in [("ann", json!(["viewer"])), ("bea", json!(["support", "viewer"])), ("cleo", json!([]))] {
            create(&app, &sam, &with(name, "roles", roles)).await.expect(201);
        }
        // Whatever becomes of a field that this request does not have: no superuser.
        let answer = create(&app, &sam, &with("dora", "is_superuser", json!(true))).await.expect_one_of(&[201, 403]);
        assert!(answer.status == 403 || answer.json()["is_superuser"] == false, "{}", answer.text());
        let superusers = app.database().scalar("SELECT count(*) FROM users WHERE is_superuser").await;
        assert_eq!(superusers.as_deref(), Some("1"));
    }

    async fn a_new_user_is_checked_like_a_registration(app: TestApp) {
        let admin = app.admin().await;
        app.register("johndoe").await;
        for (name, email, detail) in [
            ("johndoe", "new@example.com", "Username already registered"),
            ("JohnDoe", "new@example.com", "Username already registered"),
            ("newname", "johndoe@example.com", "Email already registered"),
            ("newname", "JOHNDOE@Example.com", "Email already registered"),
        ] {
            let body = json!({"username": name, "email": email, "password": "securepassword123"});
            assert_eq!(create(&app, admin, &body).await.problem_of(409)["detail"], detail, "{name} {email}");
        }
        let bad = json!({"username": "x", "email": "no", "password": "short"});
        create(&app, admin, &bad).await.invalid(&["username", "email", "password"]);
        for (field, value) in [
            ("username", json!("john doe")),
            ("username", json!(12)),
            ("email", json!("john@@example.com")),
            ("email", Value::Null),
            ("password", json!("janedoe-1")),
            ("password", json!(["securepassword123"])),
            ("full_name", json!("é".repeat(201))),
            ("full_name", json!("Jane\u{0}Doe")),
        ] {
            let mut body = with("janedoe-1", field, value.clone());
            body["roles"] = json!(["viewer"]);
            let problem = create(&app, admin, &body).await.invalid(&[field]);
            assert!(!field_codes(&problem, field).is_empty(), "{field} {value}");
        }
        for field in ["username", "email", "password"] {
            let mut body = TestApp::registration("janedoe");
            body.as_object_mut().unwrap().remove(field);
            create(&app, admin, &body).await.invalid(&[field]);
        }
        let long = create(&app, admin, &with("janedoe", "password", json!("p7-".repeat(25)))).await;
        assert_eq!(field_codes(&long.invalid(&["password"]), "password"), ["too_long"]);
        create(&app, admin, &json!([])).await.problem_of(422);
        app.post("/admin/users").bearer(&admin.access).body("application/json", "{").send().await
            .problem(400, "malformed_json");
        app.post("/admin/users").bearer(&admin.access).body("text/plain", "{}").send().await.problem_of(415);
        assert_eq!(found(&app, "j").await, ["johndoe"]);
    }

    async fn users_are_made_also_while_registration_is_off(database: Database) {
        let app = database.app().env("ENABLE_REGISTRATION", "false").env("DEFAULT_ROLE", "analyst").start().await;
        app.post("/auth/register").json(&TestApp::registration("johndoe")).send().await
            .problem(403, "registration_disabled");
        let user = create(&app, app.admin().await, &TestApp::registration("johndoe")).await.expect(201).json();
        assert_eq!(user["roles"], json!(["analyst"]));
        app.login("johndoe", "securepassword123").await;
    }

    async fn of_two_who_make_one_user_at_once_one_does(app: TestApp) {
        let admin = app.admin().await;
        let calls = (0..6).map(|n| {
            let mut body = TestApp::registration(if n % 2 == 0 { "johndoe" } else { "JohnDoe" });
            body["email"] = json!(format!("john{n}@example.com"));
            let app = &app;
            async move { create(app, admin, &body).await.status }
        });
        let mut statuses = futures_util::future::join_all(calls).await;
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409, 409, 409]);
    }

    async fn only_role_admin_deletes_users(app: TestApp) {
        app.make_role("support", &["users:read", "users:manage"]).await;
        let sam = app.holder("sam", &["support", "viewer"]).await;
        let john = app.user("johndoe").await;
        for id in [john.id.as_str(), sam.id.as_str(), NOBODY, "not-a-uuid"] {
            let problem = app.ask(&sam, "DELETE", &format!("/admin/users/{id}")).await.problem(403, "role_required");
            assert_eq!(problem["detail"], "Role required: admin", "{id}");
        }
        let problem = app.ask(&john, "DELETE", &format!("/admin/users/{}", john.id)).await.problem_of(403);
        assert_eq!(problem["detail"], "Role required: admin");
        app.me(&john.access).await.expect(200);
        // Every permission there is does not make up for the role.
        app.make_role("everything", &["*"]).await;
        let stella = app.holder("stella", &["everything"]).await;
        app.ask(&stella, "DELETE", &format!("/admin/users/{}", john.id)).await.problem(403, "role_required");
        let jim = app.holder("jim", &["admin"]).await;
        assert!(app.ask(&jim, "DELETE", &format!("/admin/users/{}", john.id)).await.expect(204).body.is_empty());
        for id in [john.id.as_str(), NOBODY, "not-a-uuid"] {
            app.ask(&jim, "DELETE", &format!("/admin/users/{id}")).await.problem_of(404);
        }
    }

    async fn a_deleted_user_is_gone_at_once_and_the_records_stay(app: TestApp) {
        let admin = app.admin().await;
        let john = app.user_with_roles("johndoe", &["admin"]).await;
        let phone = app.login("johndoe", &john.password).await;
        app.ask(&john, "GET", "/admin/users").await.expect(200);
        let path = format!("/admin/users/{}", john.id);
        app.administer("DELETE", &path).await;
        for session in [&john, &phone] {
            app.me(&session.access).await.problem(401, "token_revoked");
            app.ask(session, "GET", "/admin/users").await.problem(401, "token_revoked");
            app.ask(session, "GET", "/auth/verify").await.problem(401, "token_revoked");
            app.refresh(&session.refresh).await.problem_of(401);
        }
        app.try_login("johndoe", &john.password).await.problem(401, "invalid_credentials");
        app.try_login(&john.email, &john.password).await.problem(401, "invalid_credentials");
        for (method, below) in
            [("GET", ""), ("GET", "/sessions"), ("GET", "/permissions"), ("DELETE", "/sessions"), ("POST", "/unlock"),
                ("PUT", "/roles/viewer"), ("DELETE", "/roles/viewer"), ("DELETE", "")]
        {
            app.ask(admin, method, &format!("{path}{below}")).await.problem_of(404);
        }
        app.tell(admin, "PATCH", &path, &json!({"full_name": "X"})).await.problem_of(404);
        assert_eq!(found(&app, "john").await, Vec::<String>::new());
        let check = json!({"user_id": john.id, "checks": [{"role": "admin"}, {"permission": "projects:read"}]});
        let answer = app.tell(admin, "POST", "/authz/check", &check).await.expect_one_of(&[200, 404, 422]);
        assert!(!answer.text().contains("true"), "{}", answer.text());
        let records = app.audit(&format!("user_id={}&limit=1000", john.id)).await;
        let mut actions = names(&records, "action");
        actions.sort();
        actions.dedup();
        for action in ["LIST_USERS", "LOGIN"] {
            assert!(actions.iter().any(|name| name == action), "no {action}: {actions:?}");
        }
        assert!(records.iter().all(|record| record["username"] == "johndoe"), "{records:?}");
    }

    async fn a_later_user_of_a_deleted_ones_name_starts_anew(app: TestApp) {
        let old = app.user_with_roles("johndoe", &["admin"]).await;
        app.administer("DELETE", &format!("/admin/users/{}", old.id)).await;
        let new = app.user("johndoe").await;
        assert_ne!(new.id, old.id);
        assert_eq!(app.me(&new.access).await.expect(200).json()["roles"], json!(["viewer"]));
        app.me(&old.access).await.problem(401, "token_revoked");
        app.refresh(&old.refresh).await.problem_of(401);
    }

    async fn what_a_deleted_administrator_gave_stays_given(app: TestApp) {
        let jim = app.holder("jim", &["admin"]).await;
        let john = app.user("johndoe").await;
        app.ask(&jim, "PUT", &format!("/admin/users/{}/roles/analyst", john.id)).await.expect(204);
        app.administer("DELETE", &format!("/admin/users/{}", jim.id)).await;
        assert!(app.passes(&john, "role=analyst").await);
    }

    async fn an_account_is_unlocked(app: TestApp) {
        app.make_role("support", &["users:manage"]).await;
        let sam = app.holder("sam", &["support", "viewer"]).await;
        let john = app.user("johndoe").await;
        let path = format!("/admin/users/{}/unlock", john.id);
        for who in [app.admin().await, &sam] {
            assert!(app.ask(who, "POST", &path).await.expect(204).body.is_empty());
            app.ask(who, "POST", &format!("/admin/users/{NOBODY}/unlock")).await.problem_of(404);
            app.ask(who, "POST", "/admin/users/not-a-uuid/unlock").await.problem_of(404);
        }
        let problem = app.ask(&john, "POST", &path).await.problem(403, "permission_required");
        assert_eq!(problem["detail"], "Permission required: users:manage");
        app.me(&john.access).await.expect(200);
        app.login("johndoe", &john.password).await;
    }
}
