//! `/admin/users/{id}/sessions` and `/permissions`: where a user is signed in, and what they may.

use serde_json::{Value, json};

use crate::support::{NOBODY, TestApp, assert_millisecond_time, items, names, on_both_databases};

/// `permission: roles` of each item, as `projects:read viewer,analyst`.
fn lines(rights: &[Value]) -> Vec<String> {
    let line = |item: &Value| {
        let fields: Vec<&String> = item.as_object().expect("an object").keys().collect();
        assert_eq!(fields, ["permission", "roles"], "{item}");
        let roles: Vec<&str> = item["roles"].as_array().expect("roles").iter().filter_map(Value::as_str).collect();
        format!("{} {}", item["permission"].as_str().expect("a name"), roles.join(","))
    };
    rights.iter().map(line).collect()
}

/// The permissions that there are.
async fn all_permissions(app: &TestApp) -> Vec<String> {
    names(items(&app.ask(app.admin().await, "GET", "/admin/permissions").await.expect(200).json()), "name")
}

on_both_databases! {
    async fn the_sessions_of_a_user_are_listed(app: TestApp) {
        let admin = app.admin().await;
        let john = app.user("johndoe").await;
        let call = app.post("/auth/login").header("user-agent", "Phone/1.0");
        let phone = call.json(&json!({"username": "johndoe", "password": john.password})).send().await.expect(200);
        app.user("janedoe").await;
        let path = format!("/admin/users/{}/sessions", john.id);
        let list = app.ask(admin, "GET", &path).await.expect(200);
        assert!(!list.text().contains("eyJ"), "{}", list.text());
        let list = list.json();
        assert_eq!(list["has_more"], false);
        let sessions = items(&list);
        assert_eq!(sessions.len(), 2, "{list}");
        assert_eq!(sessions.iter().filter(|session| session["user_agent"] == "Phone/1.0").count(), 1, "{list}");
        assert!(sessions.iter().any(|session| session["id"] == john.session()), "{list}");
        for session in sessions {
            assert_millisecond_time(&session["created_at"]);
            assert_millisecond_time(&session["last_used_at"]);
            assert_eq!(session["ip_address"], "127.0.0.1");
            assert_ne!(session["current"], true, "the administrator's is another's: {session}");
        }
        let tokens = phone.json();
        app.post("/auth/logout").bearer(tokens["access_token"].as_str().unwrap()).send().await.expect(204);
        let list = app.ask(admin, "GET", &path).await.expect(200).json();
        assert_eq!(names(items(&list), "id"), [john.session()]);
    }

    async fn all_sessions_of_a_user_are_ended_at_once(app: TestApp) {
        let [john, jane] = [app.user("johndoe").await, app.user("janedoe").await];
        let phone = app.login("johndoe", &john.password).await;
        let path = format!("/admin/users/{}/sessions", john.id);
        assert!(app.administer("DELETE", &path).await.body.is_empty());
        for session in [&john, &phone] {
            app.me(&session.access).await.problem(401, "token_revoked");
            app.refresh(&session.refresh).await.problem_of(401);
        }
        app.me(&jane.access).await.expect(200);
        let list = app.ask(app.admin().await, "GET", &path).await.expect(200).json();
        assert_eq!(list["items"], json!([]));
        app.administer("DELETE", &path).await;
        // The account is as it was.
        let again = app.login("johndoe", &john.password).await;
        assert!(app.passes(&again, "permission=projects:read").await);
        app.me(&john.access).await.problem(401, "token_revoked");
    }

    async fn the_sessions_and_permissions_of_nobody_are_404(app: TestApp) {
        let admin = app.admin().await;
        for id in [NOBODY, "not-a-uuid", "%00"] {
            for (method, what) in [("GET", "sessions"), ("DELETE", "sessions"), ("GET", "permissions")] {
                app.ask(admin, method, &format!("/admin/users/{id}/{what}")).await.problem_of(404);
            }
        }
    }

    async fn who_reads_users_reads_what_a_bigger_one_may(app: TestApp) {
        app.make_role("reader", &["users:read"]).await;
        let rita = app.holder("rita", &["reader"]).await;
        let root = &app.admin().await.id;
        for what in ["", "/sessions", "/permissions"] {
            app.ask(&rita, "GET", &format!("/admin/users/{root}{what}")).await.expect(200);
        }
        for path in ["/admin/roles", "/admin/roles/admin", "/admin/permissions"] {
            app.ask(&rita, "GET", path).await.expect(200);
        }
    }

    async fn the_permissions_of_a_user_name_the_roles_they_come_from(app: TestApp) {
        let john = app.user_with_roles("johndoe", &["analyst"]).await;
        let rights = lines(&app.permissions_of(&john.id).await);
        assert_eq!(rights, ["models:read analyst", "projects:create analyst", "projects:read analyst,viewer",
            "projects:update analyst", "reports:export analyst", "reports:read analyst,viewer", "runs:create analyst",
            "runs:read analyst", "runs:update analyst"]);
        let me = app.me(&john.access).await.expect(200).json();
        assert_eq!(names(&app.permissions_of(&john.id).await, "permission"), names_of(&me["permissions"]));
        app.set_role("DELETE", &john.id, "analyst").await;
        app.set_role("DELETE", &john.id, "viewer").await;
        assert_eq!(app.permissions_of(&john.id).await, Vec::<Value>::new());
    }

    async fn wildcards_are_shown_as_what_they_cover(app: TestApp) {
        app.make_role("runner", &["runs:*", "reports:read"]).await;
        let john = app.holder("johndoe", &["runner"]).await;
        let expected = ["reports:read runner", "runs:create runner", "runs:delete runner", "runs:read runner",
            "runs:update runner"];
        assert_eq!(lines(&app.permissions_of(&john.id).await), expected);
        app.make_permission("runs:archive").await;
        let rights = lines(&app.permissions_of(&john.id).await);
        assert_eq!(rights[..2], ["reports:read runner", "runs:archive runner"]);
        assert_eq!(rights.len(), 6);
        // Another resource that begins alike is another resource.
        app.make_permission("runs-old:read").await;
        assert_eq!(app.permissions_of(&john.id).await.len(), 6);
        app.make_role("everything", &["*"]).await;
        app.set_role("PUT", &john.id, "everything").await;
        let rights = app.permissions_of(&john.id).await;
        assert_eq!(names(&rights, "permission"), all_permissions(&app).await);
        assert!(lines(&rights).contains(&"runs:archive everything,runner".to_owned()), "{rights:?}");
        assert!(lines(&rights).contains(&"audit:read everything".to_owned()), "{rights:?}");
    }

    async fn what_comes_through_an_include_comes_from_the_assigned_role(app: TestApp) {
        for (role, permissions) in [("inner", &["runs:read"][..]), ("middle", &[]), ("outer", &["models:read"])] {
            app.make_role(role, permissions).await;
        }
        app.include("outer", "middle").await;
        app.include("middle", "inner").await;
        let john = app.holder("johndoe", &["outer"]).await;
        assert_eq!(lines(&app.permissions_of(&john.id).await), ["models:read outer", "runs:read outer"]);
        app.set_role("PUT", &john.id, "inner").await;
        assert_eq!(lines(&app.permissions_of(&john.id).await), ["models:read outer", "runs:read inner,outer"]);
        app.administer("DELETE", "/admin/roles/outer/includes/middle").await;
        assert_eq!(lines(&app.permissions_of(&john.id).await), ["models:read outer", "runs:read inner"]);
    }

    async fn the_role_admin_has_every_permission_now_and_later(app: TestApp) {
        let jim = app.holder("jim", &["admin"]).await;
        for n in 0..3 {
            let rights = app.permissions_of(&jim.id).await;
            assert_eq!(rights.len(), 15 + n);
            assert_eq!(names(&rights, "permission"), all_permissions(&app).await);
            assert!(rights.iter().all(|right| right["roles"] == json!(["admin"])), "{rights:?}");
            app.make_permission(&format!("things{n}:read")).await;
            assert!(app.passes(&jim, &format!("permission=things{n}:read")).await);
        }
    }

    async fn a_superusers_own_permissions_come_from_no_role(app: TestApp) {
        let john = app.user("johndoe").await;
        app.change_user(&john.id, json!({"is_superuser": true})).await;
        let rights = app.permissions_of(&john.id).await;
        assert_eq!(names(&rights, "permission"), all_permissions(&app).await);
        for right in &rights {
            let is_viewers = ["projects:read", "reports:read"].contains(&right["permission"].as_str().unwrap());
            assert_eq!(right["roles"], if is_viewers { json!(["viewer"]) } else { json!([]) }, "{right}");
        }
        // The bootstrap account is a superuser with the role.
        let root = app.permissions_of(&app.admin().await.id).await;
        assert!(root.iter().all(|right| right["roles"] == json!(["admin"])), "{root:?}");
    }

    async fn a_deactivated_user_may_nothing(app: TestApp) {
        let [john, jane] = [app.user("johndoe").await, app.user_with_roles("janedoe", &["admin"]).await];
        app.change_user(&john.id, json!({"is_superuser": true})).await;
        for user in [&john, &jane] {
            app.change_user(&user.id, json!({"is_active": false})).await;
            assert_eq!(app.permissions_of(&user.id).await, Vec::<Value>::new(), "{}", user.username);
            app.change_user(&user.id, json!({"is_active": true})).await;
            assert_eq!(app.permissions_of(&user.id).await.len(), 15, "{}", user.username);
        }
    }
}

/// The strings of a list.
fn names_of(list: &Value) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
}
