//! Two apps of somebody else's, each a crate of its own that mounts the library: one with everything in
//! one process, one that only verifies.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::SemaphorePermit;

use crate::support::{Account, Call, Database, SECRET, TestApp, eventually, items, slot};

/// How long the verifying app holds an answer in these tests.
const MAX_AGE: Duration = Duration::from_millis(1000);

/// Builds the apps, each alone, so that it has the features that it asks for and no others; gives
/// the folder of the binaries.
fn built() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        for what in [["--package", "embedded"], ["--package", "verify-only"], ["--example", "projects"]] {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--locked", "--quiet"]).args(what).current_dir(env!("CARGO_MANIFEST_DIR"));
            let built = cargo.output().expect("cargo runs");
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        }
        Path::new(env!("CARGO_BIN_EXE_portcullis")).with_file_name("")
    })
}

/// The build takes minutes on a fresh machine: nobody else waits for it.
async fn slot_once_built() -> SemaphorePermit<'static> {
    tokio::task::spawn_blocking(built).await.expect("builds");
    slot().await
}

/// One of the apps, running; it dies with the test.
struct HostApp {
    child: Child,
    base: String,
    client: reqwest::Client,
    _home: TempDir,
}

impl HostApp {
    /// By its path in the folder of the binaries.
    fn launch(app: &str, env: &[(&str, &str)]) -> Result<Self, String> {
        let home = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(built().join(app));
        command.current_dir(home.path()).env_clear().envs(env.iter().copied()).env("RUST_LOG", "info");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the app starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("UTF-8");
        let Some(address) = line.trim().strip_prefix("listening on ").map(|at| at.trim_start_matches("http://")) else {
            let output = child.wait_with_output().expect("ends");
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        };
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().expect("a client");
        Ok(Self { base: format!("http://{address}"), child, client, _home: home })
    }

    fn call(&self, method: &str, path: &str) -> Call {
        let method_token = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        Call::new(format!("{method} {path}"), self.client.request(method_token, format!("{}{path}", self.base)))
    }

    async fn status(&self, method: &str, path: &str, token: &str) -> u16 {
        self.call(method, path).bearer(token).send().await.status
    }
}

impl Drop for HostApp {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn embedded(env: &[(&str, &str)]) -> Result<HostApp, String> {
    let mut all = SETTINGS.to_vec();
    all.extend_from_slice(env);
    HostApp::launch("embedded", &all)
}

/// What an app with everything in one process is told.
const SETTINGS: &[(&str, &str)] = &[
    ("JWT_SECRET_KEY", SECRET),
    ("PASSWORD_BCRYPT_COST", "10"),
    ("BOOTSTRAP_ADMIN_USERNAME", "root_admin"),
    ("BOOTSTRAP_ADMIN_EMAIL", "root@example.com"),
    ("BOOTSTRAP_ADMIN_PASSWORD", "correct-horse-battery"),
    ("PORT", "0"),
];

async fn token(app: &HostApp, name: &str, password: &str) -> String {
    let login = json!({"username": name, "password": password});
    let tokens = app.call("POST", "/auth/login").json(&login).send().await.expect(200).json();
    tokens["access_token"].as_str().expect("a token").to_owned()
}

#[tokio::test]
async fn an_app_with_everything_in_one_process() {
    let _slot = slot_once_built().await;
    let app = embedded(&[]).expect("starts");
    let user =
        app.call("POST", "/auth/register").json(&TestApp::registration("johndoe")).send().await.expect(201).json();
    let john = token(&app, "johndoe", "securepassword123").await;
    let root = token(&app, "root_admin", "correct-horse-battery").await;

    app.call("POST", "/api/projects").send().await.problem(401, "not_authenticated");
    let refused = app.call("POST", "/api/projects").bearer(&john).send().await;
    assert_eq!(refused.problem(403, "permission_required")["detail"], "Permission required: projects:create");
    let path = format!("/admin/users/{}/roles/analyst", user["id"].as_str().expect("an id"));
    app.call("PUT", &path).bearer(&root).send().await.expect(204);
    let request = app.call("POST", "/api/projects").bearer(&john).header("x-request-id", "the-request");
    request.send().await.expect(201);
    app.call("DELETE", "/users/7").bearer(&john).send().await.problem(403, "role_required");
    assert_eq!(app.status("DELETE", "/users/7", &root).await, 204);
    // What no route took is refused, and known only to those who are known.
    app.call("GET", "/api/nothing").send().await.problem(401, "not_authenticated");
    app.call("GET", "/api/nothing").bearer(&john).send().await.problem(404, "not_found");

    let records = app.call("GET", "/audit/logs?limit=100").bearer(&root).send().await.expect(200).json();
    let find = |action: &str| -> Vec<Value> {
        items(&records).iter().filter(|record| record["action"] == action).cloned().collect()
    };
    let outcomes: Vec<Value> = find("CREATE_PROJECT").iter().map(|record| record["outcome"].clone()).collect();
    assert_eq!(outcomes, ["success", "denied", "denied"]);
    let event = &find("BUDGET_SET")[0];
    for (field, value) in [
        ("source", json!("event")),
        ("username", json!("johndoe")),
        ("resource_type", json!("project")),
        ("resource_id", json!("42")),
        ("metadata", json!({"euros": 1000})),
        ("request_id", json!("the-request")),
        ("ip_address", json!("127.0.0.1")),
    ] {
        assert_eq!(event[field], value, "{event}");
    }
    let deleted = &find("DELETE_USER")[0];
    assert_eq!((&deleted["resource_type"], &deleted["resource_id"]), (&json!("user"), &json!("7")));
}

#[tokio::test]
async fn a_route_that_requires_what_there_is_not_stops_the_start() {
    let _slot = slot_once_built().await;
    let Err(log) = embedded(&[("REQUIRED", "projcts:create")]) else {
        // The address is bound before the routes are made.
        let app = embedded(&[("REQUIRED", "projcts:create")]).ok();
        let mut app = app.expect("starts like the first one");
        eventually("the app ends", Duration::from_secs(20), || {
            let ended = app.child.try_wait().expect("can be waited for");
            async move { ended.is_some_and(|status| !status.success()) }
        })
        .await;
        return;
    };
    assert!(log.contains("projcts"), "{log}");
}

#[tokio::test]
async fn an_app_declares_its_own_permissions() {
    let _slot = slot_once_built().await;
    let app = embedded(&[("REQUIRED", "invoices:approve"), ("DECLARED", "invoices:approve")]).expect("starts");
    let root = token(&app, "root_admin", "correct-horse-battery").await;
    assert_eq!(app.status("POST", "/api/projects", &root).await, 201);
    // What the app's own code changes is on record too.
    let records = app.call("GET", "/audit/logs?action=CREATE_PERMISSION").bearer(&root).send().await.expect(200).json();
    let record = &items(&records)[0];
    assert_eq!((&record["username"], &record["source"]), (&json!("app:system"), &json!("event")), "{record}");
    assert_eq!(record["resource_id"], "invoices:approve", "{record}");
}

/// `examples/projects.rs`.
#[tokio::test]
async fn the_example_guards_its_routes_and_names_its_records() {
    let _slot = slot_once_built().await;
    let page = "https://app.example";
    let settings: Vec<_> = SETTINGS.iter().copied().chain([("CORS_ALLOWED_ORIGINS", page)]).collect();
    let app = HostApp::launch("examples/projects", &settings).expect("starts");
    let user =
        app.call("POST", "/auth/register").json(&TestApp::registration("johndoe")).send().await.expect(201).json();
    let id = user["id"].as_str().expect("an id");
    let john = token(&app, "johndoe", "securepassword123").await;
    let root = token(&app, "root_admin", "correct-horse-battery").await;
    let make = |token: String| app.call("POST", "/api/projects").bearer(&token).json(&json!({"name": "Bridge"}));

    make(john.clone()).send().await.problem(403, "permission_required");
    app.call("PUT", &format!("/admin/users/{id}/roles/analyst")).bearer(&root).send().await.expect(204);
    let project = make(john.clone()).send().await.expect(201).json();
    assert_eq!((&project["id"], &project["owner"]), (&json!(1), &json!(id)));
    make(root.clone()).send().await.expect(201);
    // His own he may delete, another's not.
    assert_eq!(app.status("DELETE", "/api/projects/1", &john).await, 204);
    let refused = app.call("DELETE", "/api/projects/2").bearer(&john).send().await;
    assert_eq!(refused.problem(403, "permission_required")["detail"], "Permission required: projects:delete");
    for path in ["/api/runs", "/api/reports", "/api/reports/7/export", "/api/models", "/api/projects"] {
        assert_eq!(app.status("GET", path, &john).await, 200, "{path}");
        assert_eq!(app.status("PATCH", path, &john).await, 405, "{path}");
        // Whatever the method.
        for method in ["GET", "PATCH"] {
            app.call(method, path).send().await.problem(401, "not_authenticated");
        }
    }
    app.call("GET", "/api/nothing").send().await.problem(401, "not_authenticated");
    app.call("GET", "/api/nothing").bearer(&john).send().await.problem(404, "not_found");
    let asked = app.call("OPTIONS", "/api/projects").header("origin", page);
    let asked = asked.header("access-control-request-method", "POST").send().await;
    assert_eq!(asked.expect_one_of(&[200, 204]).header("access-control-allow-origin"), Some(page));
    let metrics = app.call("GET", "/metrics").send().await.expect(200).text();
    assert!(metrics.contains("\"/api/reports/{id}/export\""), "{metrics}");
    app.call("DELETE", &format!("/users/{id}")).bearer(&john).send().await.problem(403, "role_required");
    assert_eq!(app.status("DELETE", &format!("/users/{id}"), &root).await, 204);
    app.call("GET", "/api/runs").bearer(&john).send().await.problem(401, "token_revoked");

    let records = app.call("GET", "/audit/logs?limit=100").bearer(&root).send().await.expect(200).json();
    let actions: Vec<&str> = items(&records).iter().filter_map(|record| record["action"].as_str()).collect();
    for action in ["CREATE_PROJECT", "DELETE_PROJECT", "PROJECT_ARCHIVED", "LIST_RUNS", "LIST_MODELS", "DELETE_USER"] {
        assert!(actions.contains(&action), "{action}: {actions:?}");
    }
    let description = app.call("GET", "/openapi.json").send().await.expect(200).json();
    for path in ["/api/projects", "/users/{user_id}", "/auth/login", "/admin/roles"] {
        assert!(description["paths"][path].is_object(), "{path}");
    }
    assert_eq!(description["info"]["title"], "Projects");
    let create = &description["paths"]["/api/projects"]["post"];
    assert_eq!(create["security"], json!([{"bearer": []}, {"password": []}]));
    let refusal = &create["responses"]["403"]["content"]["application/problem+json"];
    assert_eq!(refusal["schema"]["$ref"], "#/components/schemas/Problem", "{create}");
}

/// The service, signing by a key that others can verify by, and the app that asks it.
async fn verifying() -> (TestApp, HostApp) {
    let launch = Database::sqlite().app();
    let made = launch.command_line(&["keys", "generate", "--algorithm", "EdDSA", "--out", "key.pem"], "");
    assert_eq!(made.code, Some(0), "{made:?}");
    let service = launch.env("JWT_ALGORITHM", "EdDSA").env("JWT_PRIVATE_KEY_FILE", "key.pem").start().await;
    let url = format!("http://127.0.0.1:{}", service.port());
    let max_age = MAX_AGE.as_millis().to_string();
    let app = HostApp::launch("verify-only", &[("PORTCULLIS_URL", &url), ("MAX_AGE_MS", &max_age)]).expect("starts");
    (service, app)
}

async fn holds_within_the_bound(app: &HostApp, what: &str, path: &str, who: &Account, status: u16) {
    let (method, path) = path.split_once(' ').expect("a method and a path");
    eventually(what, 2 * MAX_AGE, || async { app.status(method, path, &who.access).await == status }).await;
}

#[tokio::test]
async fn an_app_that_only_verifies_lets_in_and_refuses_as_the_service_would() {
    let _slot = slot_once_built().await;
    let (service, app) = verifying().await;
    let john = service.user("johndoe").await;

    app.call("GET", "/me").send().await.expect(401);
    let me = app.call("GET", "/me").bearer(&john.access).send().await.expect(200).json();
    assert_eq!(me, json!([john.id, "johndoe"]));
    assert_eq!(app.status("GET", "/reports", &john.access).await, 200);
    assert_eq!(app.status("GET", "/reports/export", &john.access).await, 403);
    let refused = app.call("POST", "/edit").bearer(&john.access).send().await;
    let problem = refused.expect(403).json();
    assert_eq!(problem["detail"], "Permission required: projects:create or projects:update");
    assert_eq!(app.status("GET", "/admin", &john.access).await, 403);
    assert_eq!(app.status("DELETE", "/projects/plain", &john.access).await, 204);
    assert_eq!(app.status("DELETE", "/projects/precious", &john.access).await, 403);
    // A permission that the service does not know is nobody's, and spoils nothing else.
    let admin = service.admin().await;
    assert_eq!(app.status("GET", "/typo", &admin.access).await, 403);
    assert_eq!(app.status("GET", "/reports", &john.access).await, 200);
    assert_eq!(app.status("GET", "/admin", &admin.access).await, 200);

    let cut = john.access.len() - 6;
    let tampered = format!("{}AAAAAA", &john.access[..cut]);
    for bad in [&tampered, &john.forge().token(), &john.forge().unsigned("none"), &john.refresh, "nonsense"] {
        let problem = app.call("GET", "/me").bearer(bad).send().await.expect(401).json();
        assert_eq!(problem["code"], "token_invalid", "{bad}");
    }

    service.set_role("PUT", &john.id, "analyst").await;
    holds_within_the_bound(&app, "a role given holds", "POST /edit", &john, 200).await;
    service.set_role("DELETE", &john.id, "analyst").await;
    holds_within_the_bound(&app, "a role taken away holds", "POST /edit", &john, 403).await;
    let jane = service.user("janedoe").await;
    assert_eq!(app.status("GET", "/me", &jane.access).await, 200);
    service.change_user(&jane.id, json!({"is_active": false})).await;
    holds_within_the_bound(&app, "a deactivation holds", "GET /me", &jane, 401).await;
    service.post("/auth/logout").bearer(&john.access).send().await.expect(204);
    holds_within_the_bound(&app, "a logout holds", "GET /me", &john, 401).await;
}

#[tokio::test]
async fn with_the_service_away_what_is_held_stands_for_its_time_and_no_longer() {
    let _slot = slot_once_built().await;
    let (mut service, app) = verifying().await;
    let john = service.user("johndoe").await;
    assert_eq!(app.status("GET", "/reports", &john.access).await, 200);
    service.kill().await;
    holds_within_the_bound(&app, "held answers grow old", "GET /reports", &john, 503).await;
}

#[test]
fn an_app_that_only_verifies_does_not_compile_the_store() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--locked", "--package", "verify-only", "--edges", "normal", "--prefix", "none"]);
    let tree = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    assert!(tree.contains("portcullis v") && tree.contains("reqwest v"), "{tree}");
    for absent in ["diesel", "libsqlite3-sys", "tokio-postgres", "bb8", "bcrypt", "clap", "actix "] {
        assert!(!tree.lines().any(|line| line.starts_with(absent)), "{absent}");
    }
}
