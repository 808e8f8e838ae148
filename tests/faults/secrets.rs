//! Secrets in every place that a request, a setting or a command has for them: afterwards none of them is in a table,
//! in a file of `DATA_DIR` or in what the process wrote, also where it writes all that it can.

use std::path::Path;

use serde_json::json;

use crate::support::{Account, Backend, Database, Launch, TestApp, has_token, on_both_databases};

const BOOTSTRAP: &str = "Boot-7f3a.Secret!";
const JOHN: &str = "John-9c1d.Secret!";
const NEW: &str = "New-2b8e.Secret!";
const WRONG: &str = "Wrong-5d4f.Secret!";
const SET: &str = "Set-6a7c.Secret!";
const STDIN: &str = "Stdin-1e9b.Secret!";
const SHORT: &str = "S#4.f!x";
const KEY: &str = "Key-83b0d6f1-of-this-test-and-of-no-other-Key-83b0d6f1-64-bytes-long";
const DATABASE: &str = "Db-8d2f.Secret";
const PROVIDER: &str = "Oauth-4c6b.Secret!";

/// What is looked for: its name, and its text.
type Secrets = Vec<(String, String)>;

fn settings(database: &Database, level: &str) -> Launch {
    let launch = database.app().env("RUST_LOG", level).env("BOOTSTRAP_ADMIN_PASSWORD", BOOTSTRAP);
    let launch = launch.env("OAUTH_GOOGLE_CLIENT_ID", "client").env("OAUTH_GOOGLE_CLIENT_SECRET", PROVIDER);
    let launch = launch.env("TRUSTED_PROXIES", "127.0.0.1");
    match database.backend() {
        // Made, and kept in DATA_DIR.
        Backend::Sqlite => launch.without("JWT_SECRET_KEY"),
        Backend::Postgresql => {
            let url = format!("{}&password={DATABASE}", database.url().unwrap());
            launch.env("JWT_SECRET_KEY", KEY).env("DATABASE_URL", &url)
        }
    }
}

/// Passwords where they belong and where they don't.
async fn passwords(app: &TestApp, root: &Account) {
    let registration = |name: &str, password: &str| json!({"username": name, "email": format!("{name}@example.com"), "password": password});
    let call = async |body| app.post("/auth/register").json(&body).send().await;
    call(registration("johndoe", JOHN)).await.expect(201);
    call(registration("johndoe", WRONG)).await.expect(409);
    call(registration("janedoe", SHORT)).await.expect(422);
    call(registration("janedoe", &WRONG.repeat(5))).await.expect(422);
    call(json!({"username": {"password": WRONG}, "email": [WRONG], "password": [WRONG]})).await.expect(422);
    for body in [format!(r#"{{"username": "johndoe", "password": "{WRONG}"#), format!("{WRONG} {{")] {
        app.post("/auth/login").body("application/json", body).send().await.expect(400);
    }
    app.post("/auth/login").body("text/plain", WRONG).send().await.expect(415);
    app.post("/auth/login").form(&[("username", "johndoe"), ("password", WRONG)]).send().await.expect(401);
    app.try_login("johndoe", WRONG).await.expect(401);
    app.try_login("nobody", WRONG).await.expect(401);
    // In the wrong box.
    app.try_login(JOHN, "johndoe").await.expect_one_of(&[401, 422]);
    app.get(&format!("/auth/login?username=johndoe&password={WRONG}")).send().await;
    app.get(&format!("/nowhere?password={WRONG}")).bearer(&root.access).send().await.expect(404);
    app.get("/auth/me").header("authorization", &format!("Basic {WRONG}")).send().await.expect(401);
    let john = app.login("johndoe", JOHN).await;
    let change = |current: &str, new: &str| json!({"current_password": current, "new_password": new});
    let call = async |body| app.post("/auth/password").bearer(&john.access).json(&body).send().await;
    call(change(WRONG, NEW)).await.expect(403);
    call(change(JOHN, SHORT)).await.expect(422);
    call(change(JOHN, NEW)).await.expect(204);
    let user = format!("/admin/users/{}", john.id);
    app.tell(root, "PATCH", &user, &json!({"password": SHORT})).await.expect(422);
    app.tell(root, "PATCH", &user, &json!({"password": SET})).await.expect(200);
    app.tell(root, "POST", "/admin/users", &registration("janedoe", SET)).await.expect(201);
    app.login("johndoe", SET).await;
}

/// A token everywhere but where it belongs.
async fn tokens(app: &TestApp, root: &Account, token: &str) {
    for path in [
        format!("/nowhere/{token}"),
        format!("/auth/sessions/{token}"),
        format!("/admin/users/{token}"),
        format!("/audit/logs/{token}"),
        format!("/auth/me?access_token={token}"),
        format!("/auth/verify?permission={token}"),
        format!("/auth/verify/{token}?token={token}"),
        format!("/audit/logs?request_id={token}&username={token}&path=/x/{token}"),
        format!("/%2F{token}//"),
    ] {
        app.get(&path).send().await;
        app.ask(root, "GET", &path).await;
        app.ask(root, "DELETE", &path).await;
        app.post(&path).bearer(&root.access).json(&json!({"token": token})).send().await;
    }
    for (name, value) in [
        ("user-agent", format!("curl Bearer {token}")),
        ("user-agent", token.to_owned()),
        ("x-request-id", token.chars().take(100).collect()),
        ("referer", format!("https://app.example.com/?token={token}")),
        ("cookie", format!("__Secure-portcullis-refresh={token}; session={token}")),
        ("x-forwarded-for", format!("{token}, 203.0.113.9")),
        ("forwarded", format!("for={token}")),
        ("x-forwarded-uri", format!("/page/{token}?token={token}")),
        ("x-original-uri", format!("/page?token={token}")),
        ("x-forwarded-method", token.to_owned()),
        ("origin", format!("https://{token}.example.com")),
        ("accept-language", token.to_owned()),
    ] {
        app.get("/auth/verify").bearer(&root.access).header(name, &value).send().await;
        app.post("/auth/refresh").header(name, &value).json(&json!({})).send().await;
    }
    app.me(&format!("{token}x")).await.expect(401);
    app.get("/auth/me").header("authorization", &format!("Token {token}")).send().await.expect(401);
    for body in [
        json!({"action": "HANDED_OVER", "metadata": {"authorization": format!("Bearer {token}"), "deep": [{"t": token}]}}),
        json!({"action": "HANDED_OVER", "metadata": {token: "a name"}, "resource_type": token, "resource_id": token}),
        json!({"action": token, "metadata": {}}),
    ] {
        app.tell(root, "POST", "/audit/events", &body).await;
    }
    // The parser's own refusals.
    for request in [
        format!("GET /{token} HTTP/9.9\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: x\r\nBad Header {token}: x\r\nConnection: close\r\n\r\n"),
        format!("{token}\r\n\r\n"),
    ] {
        app.raw_bytes_within(request.as_bytes(), std::time::Duration::from_secs(2)).await;
    }
}

/// Sessions from beginning to end; gives their tokens.
async fn sessions(app: &TestApp) -> Secrets {
    let mut found = Secrets::new();
    let mut keep = |account: &Account| {
        found.push(("an access token".to_owned(), account.access.clone()));
        found.push(("a refresh token".to_owned(), account.refresh.clone()));
    };
    let john = app.login("johndoe", SET).await;
    keep(&john);
    let answer = app.refresh(&john.refresh).await.expect(200).json();
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    let next = Account { access: text("access_token"), refresh: text("refresh_token"), ..john.clone() };
    keep(&next);
    app.database().age_rotation(&john.session()).await;
    app.refresh(&john.refresh).await.expect(401);
    app.refresh(&next.access).await.expect(401);
    app.me(&next.refresh).await.expect(401);
    let again = app.login("johndoe", SET).await;
    keep(&again);
    let body = json!({"refresh_token": again.refresh});
    app.tell(&again, "POST", "/auth/logout", &body).await.expect(204);
    app.me(&again.access).await.expect(401);
    found
}

fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if !path.ends_with("jwt_secret.key") {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

/// All rows of all tables as text (PostgreSQL; SQLite's are in its files).
async fn tables(database: &Database) -> Vec<(String, Vec<u8>)> {
    let names = "SELECT string_agg(relname::text, ' ') FROM pg_class WHERE relkind = 'r' \
                 AND relnamespace = current_schema()::regnamespace";
    let mut found = Vec::new();
    for name in database.scalar(names).await.unwrap().split(' ') {
        let rows = database.scalar(&format!("SELECT string_agg(t::text, E'\\n') FROM \"{name}\" AS t")).await;
        found.push((format!("table {name}"), rows.unwrap_or_default().into_bytes()));
    }
    assert!(found.iter().any(|(name, rows)| name == "table users" && !rows.is_empty()));
    found
}

async fn no_secret_is_written_down(database: Database, level: &str) {
    let launch = settings(&database, level);
    let mut app = launch.clone().start().await;
    let root = app.login("root_admin", BOOTSTRAP).await;
    passwords(&app, &root).await;
    let mut secrets = sessions(&app).await;
    secrets.push(("an access token".to_owned(), root.access.clone()));
    secrets.push(("a refresh token".to_owned(), root.refresh.clone()));
    let used: Vec<String> = secrets.iter().map(|(_, token)| token.clone()).collect();
    for token in &used[..2] {
        tokens(&app, &root, token).await;
    }
    let mut written = Vec::new();
    let create = |name| ["admin", "create", "--username", name, "--email", "boss@example.com", "--password-stdin"];
    for (name, arguments, input) in [
        ("admin create", &create("boss")[..], STDIN),
        ("admin create, refused", &create("chief"), SHORT),
        ("config check", &["config", "check"], ""),
        ("export", &["export"], ""),
        ("audit verify", &["audit", "verify"], ""),
        ("audit tail", &["audit", "tail"], ""),
    ] {
        let exit = launch.command_line(arguments, input);
        written.push((name.to_owned(), format!("{}\n{}", exit.stdout, exit.stderr).into_bytes()));
    }
    app.login("boss", STDIN).await;
    app.terminate().await;
    assert!(level == "info" || app.log().contains(" DEBUG "), "not all was logged");
    written.push(("the log".to_owned(), app.log().into_bytes()));
    files(&app.launch.data_dir(), &mut written);
    assert!(written.iter().any(|(name, text)| name.contains("/audit/") && !text.is_empty()));
    match database.backend() {
        Backend::Sqlite => {
            let key = std::fs::read_to_string(app.launch.data_dir().join("jwt_secret.key")).unwrap();
            secrets.push(("the kept key".to_owned(), key.trim().to_owned()));
        }
        Backend::Postgresql => written.extend(tables(&database).await),
    }
    for password in [BOOTSTRAP, JOHN, NEW, WRONG, SET, STDIN, SHORT, KEY, DATABASE, PROVIDER] {
        secrets.push(("a password or key".to_owned(), password.to_owned()));
    }
    assert!(
        written.iter().any(|(_, text)| String::from_utf8_lossy(text).contains("johndoe")),
        "what is there is found"
    );
    for (place, text) in &written {
        let text = String::from_utf8_lossy(text);
        for (what, secret) in &secrets {
            // Of a token the signature is what makes it one.
            let secret = secret.rsplit('.').next().filter(|end| end.len() > 40).unwrap_or(secret);
            let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            for form in [secret, &hex] {
                let around = text.find(form).map(|at| text[..at].rsplit('\n').next().unwrap_or_default().to_owned());
                assert!(around.is_none(), "{what} ({secret}) is in {place}, after: {around:?}");
            }
        }
        let line = text.lines().find(|line| has_token(line));
        assert!(line.is_none(), "what looks like a token is in {place}: {line:?}");
    }
}

on_both_databases! {
    async fn no_secret_is_in_table_journal_or_log(database: Database) {
        no_secret_is_written_down(database, "info").await;
    }

    async fn no_secret_is_written_where_everything_is_logged(database: Database) {
        no_secret_is_written_down(database, "debug").await;
    }
}
