//! Lists and their pages: users, roles, permissions, sessions.

use serde_json::{Value, json};

use crate::support::{TestApp, items, names, on_both_databases};

async fn list(app: &TestApp, path: &str) -> Value {
    app.ask(app.admin().await, "GET", path).await.expect(200).json()
}

/// Walks a list in pages of that size by offset; the one field of all items.
async fn walk(app: &TestApp, path: &str, field: &str, limit: usize) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let separator = if path.contains('?') { '&' } else { '?' };
        let page = list(app, &format!("{path}{separator}limit={limit}&offset={}", all.len())).await;
        assert_eq!((&page["limit"], &page["offset"]), (&json!(limit), &json!(all.len())), "{path}");
        let found = names(items(&page), field);
        let is_full = found.len() == limit;
        all.extend(found);
        if page["has_more"] == false {
            return all;
        }
        assert_eq!(page["has_more"], true, "{path}");
        assert!(is_full, "{path}: a short page that says more");
    }
}

on_both_databases! {
    async fn a_walk_through_pages_meets_each_item_once(app: TestApp) {
        for n in 0..5 {
            app.make_user(&format!("user{n}"), &["viewer"]).await;
            app.make_role(&format!("role{n}"), &[]).await;
            app.make_permission(&format!("things{n}:read")).await;
        }
        for (path, field, count) in
            [("/admin/users", "username", 6), ("/admin/roles", "name", 8), ("/admin/permissions", "name", 20)]
        {
            let whole = names(items(&list(&app, path).await), field);
            assert_eq!(whole.len(), count, "{path}");
            for limit in [1, 2, 3, count - 1, count, count + 1, 1000] {
                assert_eq!(walk(&app, path, field, limit).await, whole, "{path} by {limit}");
            }
            let exact = list(&app, &format!("{path}?limit={count}")).await;
            assert_eq!(exact["has_more"], false, "{path}");
        }
    }

    async fn sessions_have_pages_like_every_list(app: TestApp) {
        let john = app.user("johndoe").await;
        app.login("johndoe", &john.password).await;
        app.login("johndoe", &john.password).await;
        for (who, path) in
            [(&john, "/auth/sessions".to_owned()), (app.admin().await, format!("/admin/users/{}/sessions", john.id))]
        {
            let ask = |query: &str| app.get(&format!("{path}{query}")).bearer(&who.access).send();
            for (query, field) in [
                ("?limit=0", "limit"),
                ("?limit=1001", "limit"),
                ("?limit=x", "limit"),
                ("?limit=1&limit=2", "limit"),
                ("?offset=-1", "offset"),
                ("?offset=x", "offset"),
            ] {
                let answer = ask(query).await;
                assert_eq!(answer.status, 422, "{path}{query}: {}", answer.text());
                answer.invalid(&[field]);
            }
            let whole = ask("").await.expect(200).json();
            let all = names(items(&whole), "id");
            assert_eq!(all.len(), 3, "{whole}");
            for (query, limit, offset, has_more, expected) in [
                ("", 100, 0, false, &all[..]),
                ("?limit=1000", 1000, 0, false, &all[..]),
                ("?limit=3", 3, 0, false, &all[..]),
                ("?limit=1", 1, 0, true, &all[..1]),
                ("?limit=1&offset=1", 1, 1, true, &all[1..2]),
                ("?offset=2", 100, 2, false, &all[2..]),
                ("?offset=3", 100, 3, false, &all[3..]),
                ("?limit=&offset=", 100, 0, false, &all[..]),
            ] {
                let page = ask(query).await.expect(200).json();
                assert_eq!(names(items(&page), "id"), expected, "{path}{query}");
                let got = [&page["limit"], &page["offset"], &page["has_more"], &page["next_cursor"]];
                assert_eq!(got, [&json!(limit), &json!(offset), &json!(has_more), &Value::Null], "{path}{query}");
            }
        }
    }

    async fn a_page_past_the_end_is_empty(app: TestApp) {
        for path in ["/admin/users", "/admin/roles", "/admin/permissions"] {
            let count = items(&list(&app, path).await).len();
            for offset in [count, count + 1, 1_000_000] {
                let page = list(&app, &format!("{path}?offset={offset}")).await;
                assert_eq!(page["items"], json!([]), "{path}?offset={offset}");
                assert_eq!((&page["has_more"], &page["offset"]), (&json!(false), &json!(offset)), "{path}");
                assert_eq!(page["next_cursor"], Value::Null, "{path}");
            }
        }
    }

    async fn a_filtered_list_has_pages_of_what_it_found(app: TestApp) {
        for n in 0..5 {
            app.make_user(&format!("Team{n}"), &["analyst"]).await;
            let other = app.make_user(&format!("other{n}"), &["viewer"]).await;
            app.change_user(&other, json!({"is_active": false})).await;
        }
        let team: Vec<String> = (0..5).map(|n| format!("Team{n}")).collect();
        for filter in ["q=team", "q=TEAM", "role=analyst", "role=analyst&q=te", "q=team&is_active=true"] {
            let mut found = walk(&app, &format!("/admin/users?{filter}"), "username", 2).await;
            found.sort();
            assert_eq!(found, team, "{filter}");
        }
        assert_eq!(walk(&app, "/admin/users?is_active=false", "username", 2).await.len(), 5);
        for filter in ["q=team&is_active=false", "role=analyst&q=other", "q=team5", "role=admin&is_active=false"] {
            assert_eq!(walk(&app, &format!("/admin/users?{filter}"), "username", 2).await.len(), 0, "{filter}");
        }
        // Of an address its beginning too, and never its middle.
        let body = json!({"username": "zoe", "email": "Unlike@Example.org", "password": "securepassword123"});
        app.post("/auth/register").json(&body).send().await.expect(201);
        assert_eq!(walk(&app, "/admin/users?q=unlike%40exam", "username", 2).await, ["zoe"]);
        assert_eq!(walk(&app, "/admin/users?q=example", "username", 2).await, Vec::<String>::new());
    }
}
