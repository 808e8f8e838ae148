//! `GET /audit/logs`: finding records.

use serde_json::{Value, json};

use crate::support::{Account, TestApp, items, names, on_both_databases};

/// Custom events with known actions and resources: 6 of `ANALYZE`, 3 of `PUBLISH`.
async fn events(app: &TestApp, who: &Account) {
    for n in 0..9 {
        let event = json!({
            "action": if n % 3 == 2 { "PUBLISH" } else { "ANALYZE" },
            "resource_type": if n % 2 == 0 { "project" } else { "run" },
            "resource_id": format!("id-{n}"),
        });
        app.post("/audit/events").bearer(&who.access).json(&event).send().await.expect(201);
    }
}

async fn logs(app: &TestApp, query: &str) -> Value {
    app.get(&format!("/audit/logs?{query}")).bearer(&app.admin().await.access).send().await.expect(200).json()
}

on_both_databases! {
    async fn filters_are_exact_and_combine(app: TestApp) {
        let [john, jane] = [app.user("johndoe").await, app.user("janedoe").await];
        events(&app, &john).await;
        for (query, expected) in [
            ("action=ANALYZE".to_owned(), 6),
            ("action=PUBLISH".to_owned(), 3),
            ("action=PUB".to_owned(), 0),
            ("action=publish".to_owned(), 0),
            ("action=ANALYZE&resource_type=project".to_owned(), 3),
            ("resource_type=run".to_owned(), 4),
            ("resource_id=id-4".to_owned(), 1),
            ("resource_id=id-4&resource_type=run".to_owned(), 0),
            ("resource_id=id-".to_owned(), 0),
            (format!("user_id={}&action=ANALYZE", john.id), 6),
            (format!("user_id={}&action=ANALYZE", jane.id), 0),
            (format!("user_id={}&action=LOGIN", jane.id), 1),
            (format!("user_id={}&action=PUBLISH", john.id.to_uppercase()), 3),
            // An empty filter counts as absent, an unknown one is ignored.
            ("action=PUBLISH&resource_type=&nonsense=1".to_owned(), 3),
        ] {
            let found = logs(&app, &query).await;
            assert_eq!(items(&found).len(), expected, "{query}: {found}");
            assert_eq!(found["has_more"], false, "{query}");
        }
    }

    async fn a_resource_is_found_by_its_id_in_any_case(app: TestApp) {
        let john = app.user("johndoe").await;
        app.ask(app.admin().await, "GET", &format!("/admin/users/{}", john.id)).await.expect(200);
        // Also one whose record's caller wrote it in upper case.
        let upper = json!({"action": "ANALYZE", "resource_type": "user", "resource_id": john.id.to_uppercase()});
        app.post("/audit/events").bearer(&john.access).json(&upper).send().await.expect(201);
        for id in [john.id.clone(), john.id.to_uppercase()] {
            for action in ["READ_USER", "ANALYZE"] {
                let found = logs(&app, &format!("resource_id={id}&action={action}")).await;
                assert_eq!(items(&found).len(), 1, "{action} of {id}: {found}");
            }
        }
        // What is no UUID is what it is, to the letter.
        events(&app, &john).await;
        assert_eq!(items(&logs(&app, "resource_id=ID-4").await).len(), 0);
    }

    async fn a_malformed_or_repeated_filter_is_422_with_its_field(app: TestApp) {
        let admin = &app.admin().await.access;
        for (query, field) in [
            ("user_id=johndoe", "user_id"),
            ("since=yesterday", "since"),
            ("until=2026-13-01", "until"),
            ("limit=0", "limit"),
            ("offset=-1", "offset"),
            ("offset=10001", "offset"),
            ("action=A&action=B", "action"),
            ("limit=1&limit=2", "limit"),
            ("resource_id=a&resource_id=a", "resource_id"),
        ] {
            let answer = app.get(&format!("/audit/logs?{query}")).bearer(admin).send().await;
            assert_eq!(answer.status, 422, "{query}: {}", answer.text());
            answer.invalid(&[field]);
        }
        app.get("/audit/logs?offset=10000").bearer(admin).send().await.expect(200);
    }

    async fn pages_are_newest_first_and_fit_together(app: TestApp) {
        let john = app.user("johndoe").await;
        events(&app, &john).await;
        let all = logs(&app, "action=ANALYZE").await;
        let ids = names(items(&all), "id");
        assert_eq!(names(items(&all), "resource_id"), ["id-7", "id-6", "id-4", "id-3", "id-1", "id-0"]);
        assert!(ids.is_sorted_by(|newer, older| newer > older), "{ids:?}");
        let times = names(items(&all), "timestamp");
        assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
        let mut paged = Vec::new();
        for (offset, has_more) in [(0, true), (2, true), (4, false)] {
            let page = logs(&app, &format!("action=ANALYZE&limit=2&offset={offset}")).await;
            assert_eq!(page["limit"], 2);
            assert_eq!(page["offset"], offset);
            assert_eq!(page["has_more"], has_more, "{page}");
            paged.extend(names(items(&page), "id"));
        }
        assert_eq!(paged, ids);
        let beyond = logs(&app, "action=ANALYZE&offset=6").await;
        assert_eq!(items(&beyond).len(), 0);
        assert_eq!(beyond["has_more"], false);
    }

    async fn since_is_inclusive_and_until_is_exclusive(app: TestApp) {
        let john = app.user("johndoe").await;
        events(&app, &john).await;
        let all = logs(&app, "action=ANALYZE").await;
        let times = names(items(&all), "timestamp");
        let count =
            |from: fn(&String, &String) -> bool, time: &String| times.iter().filter(|other| from(other, time)).count();
        for time in &times {
            let since = logs(&app, &format!("action=ANALYZE&since={time}")).await;
            assert_eq!(items(&since).len(), count(|other, time| other >= time, time), "since {time} of {times:?}");
            let until = logs(&app, &format!("action=ANALYZE&until={time}")).await;
            assert_eq!(items(&until).len(), count(|other, time| other < time, time), "until {time} of {times:?}");
        }
        let none = logs(&app, &format!("action=ANALYZE&since={0}&until={0}", times[0])).await;
        assert_eq!(items(&none).len(), 0);
        // The same instant in another zone, with its plus sign encoded.
        let time: chrono::DateTime<chrono::FixedOffset> = times[0].parse().unwrap();
        let elsewhere = time.with_timezone(&chrono::FixedOffset::east_opt(2 * 3_600).unwrap());
        let elsewhere = elsewhere.to_rfc3339_opts(chrono::SecondsFormat::Millis, true).replace('+', "%2B");
        let since = logs(&app, &format!("action=ANALYZE&since={elsewhere}")).await;
        assert_eq!(items(&since).len(), count(|other, time| other >= time, &times[0]));
        assert_eq!(items(&logs(&app, "since=2999-01-01T00:00:00Z").await).len(), 0);
        assert_eq!(items(&logs(&app, "until=2000-01-01T00:00:00Z").await).len(), 0);
    }

    async fn what_was_answered_before_the_question_is_in_the_answer(app: TestApp) {
        let john = app.user("johndoe").await;
        for round in 0..20 {
            let calls = (0..4).map(|n| {
                app.get("/auth/me").bearer(&john.access).header("x-request-id", &format!("round-{round}-{n}")).send()
            });
            futures_util::future::join_all(calls).await;
            let found = logs(&app, &format!("user_id={}&limit=4", john.id)).await;
            let mut ids = names(items(&found), "request_id");
            ids.sort();
            let expected: Vec<String> = (0..4).map(|n| format!("round-{round}-{n}")).collect();
            assert_eq!(ids, expected);
        }
    }

    async fn a_user_who_is_gone_is_still_in_the_log(app: TestApp) {
        let john = app.user("johndoe").await;
        app.change_user(&john.id, json!({"is_active": false})).await;
        let found = logs(&app, &format!("user_id={}&action=LOGIN", john.id)).await;
        assert_eq!(found["items"][0]["username"], "johndoe");
    }
}
