//! `POST /auth/logout` and `/auth/sessions`: how sessions end.

use serde_json::{Value, json};

use crate::support::{Account, TestApp, assert_millisecond_time, items, on_both_databases};

async fn logout(app: &TestApp, who: &Account, refresh_token: &str) -> crate::support::Answer {
    app.post("/auth/logout").bearer(&who.access).json(&json!({"refresh_token": refresh_token})).send().await
}

async fn sessions(app: &TestApp, who: &Account) -> Vec<Value> {
    let call = app.get("/auth/sessions").bearer(&who.access).header("user-agent", "later/2");
    items(&call.send().await.expect(200).json()).to_vec()
}

on_both_databases! {
    async fn a_logout_ends_the_session_of_the_refresh_token_at_once(app: TestApp) {
        let john = app.user("johndoe").await;
        let other = app.login("johndoe", &john.password).await;
        app.me(&other.access).await.expect(200);
        // Signed in here, signs out there.
        assert!(logout(&app, &john, &other.refresh).await.expect(204).body.is_empty());
        app.me(&other.access).await.problem(401, "token_revoked");
        app.refresh(&other.refresh).await.problem(401, "token_revoked");
        app.me(&john.access).await.expect(200);
    }

    async fn a_logout_without_a_body_ends_the_bearers_session(app: TestApp) {
        let john = app.user("johndoe").await;
        let other = app.login("johndoe", &john.password).await;
        app.post("/auth/logout").bearer(&john.access).send().await.expect(204);
        app.me(&john.access).await.problem(401, "token_revoked");
        app.refresh(&john.refresh).await.problem(401, "token_revoked");
        app.me(&other.access).await.expect(200);
    }

    async fn a_logout_needs_a_bearer(app: TestApp) {
        let john = app.user("johndoe").await;
        let body = json!({"refresh_token": john.refresh});
        app.post("/auth/logout").json(&body).send().await.problem(401, "not_authenticated");
        app.me(&john.access).await.expect(200);
    }

    async fn an_unknown_expired_or_ended_refresh_token_is_logged_out_already(app: TestApp) {
        let john = app.user("johndoe").await;
        let other = app.login("johndoe", &john.password).await;
        logout(&app, &john, &other.refresh).await.expect(204);
        logout(&app, &john, &other.refresh).await.expect(204);
        logout(&app, &john, "no token at all").await.expect(204);
        logout(&app, &john, "eyJhbGciOiJIUzI1NiJ9.e30.c2ln").await.expect(204);
        app.me(&john.access).await.expect(200);
    }

    async fn another_users_refresh_token_is_refused_and_lives_on(app: TestApp) {
        let [john, jane] = [app.user("johndoe").await, app.user("janedoe").await];
        logout(&app, &john, &jane.refresh).await.problem_of(401);
        app.me(&jane.access).await.expect(200);
        app.refresh(&jane.refresh).await.expect(200);
        app.me(&john.access).await.expect(200);
    }

    async fn sessions_are_listed_with_where_and_when(app: TestApp) {
        app.register("johndoe").await;
        let body = json!({"username": "johndoe", "password": "securepassword123"});
        let login = app.post("/auth/login").header("user-agent", "Browser/1.0 (test)").json(&body);
        login.send().await.expect(200);
        let john = app.login("johndoe", "securepassword123").await;
        app.user("janedoe").await;
        let sessions = sessions(&app, &john).await;
        assert_eq!(sessions.len(), 2, "{sessions:?}");
        for session in &sessions {
            let mut fields: Vec<&String> = session.as_object().unwrap().keys().collect();
            fields.sort();
            assert_eq!(fields, ["created_at", "current", "id", "ip_address", "last_used_at", "user_agent"]);
            assert_millisecond_time(&session["created_at"]);
            assert_eq!(session["ip_address"], "127.0.0.1");
            assert_eq!(session["current"], session["id"] == john.session().as_str());
        }
        assert!(sessions.iter().any(|session| session["user_agent"] == "Browser/1.0 (test)"), "{sessions:?}");
    }

    async fn a_session_is_ended_by_its_id(app: TestApp) {
        let [john, jane] = [app.user("johndoe").await, app.user("janedoe").await];
        let other = app.login("johndoe", &john.password).await;
        let delete = |id: String| app.delete(&format!("/auth/sessions/{id}")).bearer(&john.access).send();
        delete(jane.session()).await.problem_of(404);
        app.me(&jane.access).await.expect(200);
        delete("0197f1d0-0000-7000-8000-000000000000".to_owned()).await.problem_of(404);
        delete("not-a-uuid".to_owned()).await.problem_of(404);
        delete(other.session()).await.expect(204);
        app.me(&other.access).await.problem(401, "token_revoked");
        assert_eq!(sessions(&app, &john).await.len(), 1);
        delete(john.session()).await.expect(204);
        app.me(&john.access).await.problem(401, "token_revoked");
    }

    async fn all_sessions_but_the_current_one_are_ended_together(app: TestApp) {
        let john = app.user("johndoe").await;
        let [phone, laptop] = [app.login("johndoe", &john.password).await, app.login("johndoe", &john.password).await];
        let jane = app.user("janedoe").await;
        app.delete("/auth/sessions").bearer(&laptop.access).send().await.expect(204);
        for ended in [&john, &phone] {
            app.me(&ended.access).await.problem(401, "token_revoked");
            app.refresh(&ended.refresh).await.problem(401, "token_revoked");
        }
        app.me(&laptop.access).await.expect(200);
        app.refresh(&laptop.refresh).await.expect(200);
        app.me(&jane.access).await.expect(200);
        app.delete("/auth/sessions").bearer(&laptop.access).send().await.expect(204);
    }

    async fn an_ended_session_stays_ended_over_a_restart(app: TestApp) {
        let john = app.user("johndoe").await;
        let other = app.login("johndoe", &john.password).await;
        logout(&app, &john, &john.refresh).await.expect(204);
        let launch = app.launch.clone();
        drop(app);
        let app = launch.start().await;
        app.me(&john.access).await.problem(401, "token_revoked");
        app.me(&other.access).await.expect(200);
        app.refresh(&other.refresh).await.expect(200);
    }
}
