//! Whose address a request comes from, behind proxies and in front of liars.

use crate::support::{Database, TestApp, slot};

/// The address that the audit log has for a request with these headers.
async fn address(app: &TestApp, headers: &[(&str, &str)]) -> String {
    let mut call = app.get("/auth/me");
    for (name, value) in headers {
        call = call.header(name, value);
    }
    let record = app.record_of(&call.send().await).await;
    record["ip_address"].as_str().unwrap_or_else(|| panic!("no address: {record}")).to_owned()
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_up_to_the_first_stranger() {
    let _slot = slot().await;
    let app = Database::sqlite().app().env("TRUSTED_PROXIES", "127.0.0.0/8, 10.0.0.0/8,2001:db8:1::/48").start().await;
    for (forwarded, expected) in [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9, 10.1.2.3,10.0.0.1", "203.0.113.9"),
        ("10.9.9.9, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:51234", "203.0.113.9"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("203.0.113.9, 2001:db8:1::5", "203.0.113.9"),
        ("203.0.113.9, unknown, 10.0.0.1", "10.0.0.1"),
        ("unknown", "127.0.0.1"),
        ("203.0.113.9, ", "127.0.0.1"),
        ("", "127.0.0.1"),
    ] {
        assert_eq!(address(&app, &[("x-forwarded-for", forwarded)]).await, expected, "{forwarded}");
    }
    // Several headers are one list.
    let two = [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "203.0.113.9, 10.0.0.1")];
    assert_eq!(address(&app, &two).await, "203.0.113.9");
    for (forwarded, expected) in [
        ("for=203.0.113.9;proto=https;by=10.0.0.1", "203.0.113.9"),
        ("For=\"[2001:db8::7]:4711\"", "2001:db8::7"),
        ("for=198.51.100.1, for=203.0.113.9, for=10.0.0.1", "203.0.113.9"),
        ("for=unknown", "127.0.0.1"),
        ("for=_hidden, for=10.0.0.1", "10.0.0.1"),
    ] {
        assert_eq!(address(&app, &[("forwarded", forwarded)]).await, expected, "{forwarded}");
    }
    let both = [("forwarded", "for=198.51.100.1"), ("x-forwarded-for", "203.0.113.9")];
    assert_eq!(address(&app, &both).await, "203.0.113.9");
}

#[tokio::test]
async fn a_stranger_can_not_choose_its_address() {
    let _slot = slot().await;
    let database = Database::sqlite();
    for trusted in ["", "10.0.0.0/8"] {
        let app = database.app().env("TRUSTED_PROXIES", trusted).start().await;
        assert_eq!(address(&app, &[("x-forwarded-for", "203.0.113.9")]).await, "127.0.0.1");
        assert_eq!(address(&app, &[("forwarded", "for=203.0.113.9")]).await, "127.0.0.1");
        assert_eq!(address(&app, &[("x-real-ip", "203.0.113.9")]).await, "127.0.0.1");
    }
}

#[tokio::test]
async fn a_verified_request_is_recorded_as_the_proxy_saw_it_without_its_query() {
    let _slot = slot().await;
    let database = Database::sqlite();
    let mut app = database.app().env("TRUSTED_PROXIES", "127.0.0.1").start().await;
    let john = app.user("johndoe").await;
    for [method, uri] in [["x-forwarded-method", "x-forwarded-uri"], ["x-original-method", "x-original-uri"]] {
        let verify = |app: &TestApp| {
            let call = app.get("/auth/verify").bearer(&john.access).header(method, "PURGE");
            call.header(uri, "/api/projects/7?key=in-the-query").send()
        };
        let record = app.record_of(&verify(&app).await.expect(200)).await;
        assert_eq!(record["request_path"], "/auth/verify");
        let metadata = record["metadata"].to_string();
        assert!(metadata.contains("\"PURGE\"") && metadata.contains("\"/api/projects/7\""), "{record}");
        assert!(!record.to_string().contains("in-the-query"), "{record}");
        // From a stranger it is only a claim.
        drop(app);
        app = database.app().start().await;
        let record = app.record_of(&verify(&app).await.expect(200)).await;
        assert!(!record["metadata"].to_string().contains("projects"), "{record}");
        drop(app);
        app = database.app().env("TRUSTED_PROXIES", "127.0.0.1").start().await;
    }
    let long = format!("/{}", "p".repeat(3_000));
    let call = app.get("/auth/verify").bearer(&john.access).header("x-forwarded-method", "GET");
    let record = app.record_of(&call.header("x-forwarded-uri", &long).send().await.expect(200)).await;
    let metadata = record["metadata"].to_string();
    assert!(metadata.contains(&long[..2_048]) && !metadata.contains(&long[..2_049]), "{}", metadata.len());
}

#[tokio::test]
async fn a_list_of_proxies_that_can_not_be_read_stops_the_start() {
    let _slot = slot().await;
    for bad in ["nonsense", "10.0.0.0/33", "10.0.0.0/8;127.0.0.1"] {
        Database::sqlite().app().env("TRUSTED_PROXIES", bad).serve_to_end().refused("TRUSTED_PROXIES");
    }
}
