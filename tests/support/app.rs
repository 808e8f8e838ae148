//! The service as an operator runs it: the real binary, its environment, its signals.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::{Answer, Call, Database, Forge, SECRET, claims, eventually};

/// A start migrates a database and hashes a password, on a machine that does other things too.
const START_WITHIN: Duration = Duration::from_secs(60);
/// A little more than the 15 s that the service may take.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// How to start the binary: on which database, in which folder, with what environment.
#[derive(Clone)]
pub(crate) struct Launch {
    pub(crate) database: Database,
    pub(crate) home: Arc<TempDir>,
    folder: PathBuf,
    env: BTreeMap<String, OsString>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Exit {
    /// Asserts a refusal for its configuration (78, `EX_CONFIG`): one line that names what is wrong.
    #[track_caller]
    pub(crate) fn refused(&self, naming: &str) {
        assert_eq!(self.code, Some(78), "{self:?}");
        let errors: Vec<&str> = self.stderr.lines().filter(|line| !is_log_line(line)).collect();
        assert_eq!(errors.len(), 1, "not one line: {self:?}");
        assert!(errors[0].contains(naming), "does not name {naming}: {self:?}");
    }
}

/// Whether it is env_logger's: `[2026-11-23T10:10:05Z WARN  portcullis] ...`.
fn is_log_line(line: &str) -> bool {
    line.starts_with('[') && [" INFO ", " WARN ", " ERROR ", " DEBUG "].iter().any(|level| line.contains(level))
}

impl Launch {
    pub(crate) fn new(database: &Database, home: Arc<TempDir>) -> Self {
        let data_dir = home.path().join("data").display().to_string();
        let env = [
            ("HOST", "127.0.0.1"),
            ("PORT", "0"),
            ("WORKERS", "2"),
            ("DATA_DIR", &data_dir),
            ("RUST_LOG", "info"),
            ("JWT_SECRET_KEY", SECRET),
            ("PASSWORD_BCRYPT_COST", "10"),
            ("BOOTSTRAP_ADMIN_USERNAME", "root_admin"),
            ("BOOTSTRAP_ADMIN_EMAIL", "root@example.com"),
            ("BOOTSTRAP_ADMIN_PASSWORD", "correct-horse-battery"),
        ];
        let env = env.into_iter().chain(database.url().map(|url| ("DATABASE_URL", url)));
        let env = env.map(|(name, value)| (name.to_owned(), value.into())).collect();
        Self { database: database.clone(), folder: home.path().to_owned(), home, env }
    }

    pub(crate) fn env(mut self, name: &str, value: &(impl AsRef<OsStr> + ?Sized)) -> Self {
        self.env.insert(name.to_owned(), value.as_ref().to_owned());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    /// What a variable is set to.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.env.get(name).and_then(|value| value.clone().into_string().ok())
    }

    /// Runs in this folder instead of the home.
    pub(crate) fn inside(mut self, folder: &Path) -> Self {
        self.folder = folder.to_owned();
        self
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(arguments).current_dir(&self.folder).env_clear().envs(&self.env);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// What a shell script prints, run in this environment; `None` where there is no curl for it.
    pub(crate) fn script(&self, script: &str) -> Option<String> {
        let path = std::env::var("PATH").unwrap_or_default();
        let has_curl = Command::new("curl").arg("--version").output().is_ok_and(|ran| ran.status.success());
        if !has_curl {
            return None;
        }
        let mut shell = Command::new("sh");
        shell.args(["-e", "-c", script]).current_dir(&self.folder).env_clear().envs(&self.env).env("PATH", path);
        let ran = shell.stdin(Stdio::null()).output().expect("the shell starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(ran.status.success(), "{}\n{}", text(&ran.stdout), text(&ran.stderr));
        Some(text(&ran.stdout))
    }

    /// Runs a command to its end; one that does not end by itself is killed and fails the test.
    pub(crate) fn command_line(&self, arguments: &[&str], input: &str) -> Exit {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary starts");
        let mut stdin = child.stdin.take().expect("piped");
        // A command that reads nothing may be gone before this is written.
        stdin.write_all(input.as_bytes()).ok();
        drop(stdin);
        let stdout = read_all(child.stdout.take().expect("piped"));
        let stderr = read_all(child.stderr.take().expect("piped"));
        let deadline = Instant::now() + START_WITHIN;
        let status = loop {
            if let Some(status) = child.try_wait().expect("can be waited for") {
                break Some(status);
            }
            if Instant::now() > deadline {
                child.kill().expect("can be killed");
                child.wait().expect("can be waited for");
                break None;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let [stdout, stderr] = [stdout, stderr].map(|reader| reader.join().expect("reads"));
        let status = status.unwrap_or_else(|| panic!("{arguments:?} did not end:\n{stdout}\n{stderr}"));
        Exit { code: status.code(), stdout, stderr }
    }

    /// Starts the service where it must not start.
    pub(crate) fn serve_to_end(&self) -> Exit {
        self.command_line(&["serve"], "")
    }

    /// Starts the service and waits until it listens.
    pub(crate) async fn start(self) -> TestApp {
        let mut child = self.command(&["serve"]).stdout(Stdio::piped()).spawn().expect("the binary starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let log = Arc::new(Mutex::new(String::new()));
        let (printed, stdout) = (Arc::clone(&log), BufReader::new(child.stdout.take().expect("piped")));
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                printed.lock().expect("no holder panics").push_str(&format!("standard output: {line}\n"));
            }
        });
        let (listening, port) = mpsc::channel();
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, port)) = line.split_once("listening on http://127.0.0.1:") {
                    let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
                    listening.send(digits.parse::<u16>().expect("a port")).ok();
                }
                let mut lines = lines.lock().expect("no holder panics");
                lines.push_str(&line);
                lines.push('\n');
            }
        });
        let mut app = TestApp {
            child,
            port: 0,
            log,
            client: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .timeout(Duration::from_secs(60))
                .build()
                .expect("a client"),
            admin: OnceCell::new(),
            launch: self,
        };
        app.port = port.recv_timeout(START_WITHIN).unwrap_or_else(|error| panic!("does not listen ({error})"));
        app
    }
}

/// Whether there is a JSON Web Token in it: a header, a dot, and what it says.
pub(crate) fn has_token(text: &str) -> bool {
    text.match_indices("eyJ").any(|(at, _)| {
        let (header, rest) = text[at..].split_once('.').unwrap_or((&text[at..], ""));
        let is_long = header.len() >= 16 && header.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        is_long && rest.starts_with("eyJ")
    })
}

fn read_all(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).expect("UTF-8");
        text
    })
}

/// A user with a session.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) username: String,
    pub(crate) email: String,
    pub(crate) password: String,
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Account {
    /// What is known from the tokens of a sign-in alone.
    pub(crate) fn of(tokens: &Value) -> Self {
        let access = tokens["access_token"].as_str().expect("an access token").to_owned();
        let claims = claims(&access);
        Self {
            id: claims["sub"].as_str().expect("a user").to_owned(),
            username: claims["username"].as_str().expect("a name").to_owned(),
            email: String::new(),
            password: String::new(),
            access,
            refresh: tokens["refresh_token"].as_str().unwrap_or_default().to_owned(),
        }
    }

    /// The id of its session, from its access token.
    pub(crate) fn session(&self) -> String {
        claims(&self.access)["sid"].as_str().expect("a session").to_owned()
    }

    /// A copy of its access token, to be bent.
    pub(crate) fn forge(&self) -> Forge {
        Forge::from(&self.access)
    }
}

/// One running instance; it dies with the test.
pub(crate) struct TestApp {
    child: Child,
    port: u16,
    log: Arc<Mutex<String>>,
    client: reqwest::Client,
    admin: OnceCell<Account>,
    pub(crate) launch: Launch,
}

impl TestApp {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn database(&self) -> &Database {
        &self.launch.database
    }

    /// What it wrote to standard error, and to standard output, so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("no holder panics").clone()
    }

    /// Waits for a line of the log that has this text: what a service writes before an answer may be read after it.
    pub(crate) async fn has_logged(&self, text: &str) {
        let soon = Duration::from_secs(5);
        eventually(&format!("it says: {text}"), soon, || async { self.log().contains(text) }).await;
    }

    pub(crate) fn call(&self, method: &str, path: &str) -> Call {
        let method_token = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        Call::new(format!("{method} {path}"), self.client.request(method_token, url))
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        self.call("GET", path)
    }

    pub(crate) fn post(&self, path: &str) -> Call {
        self.call("POST", path)
    }

    pub(crate) fn patch(&self, path: &str) -> Call {
        self.call("PATCH", path)
    }

    pub(crate) fn delete(&self, path: &str) -> Call {
        self.call("DELETE", path)
    }

    /// The bootstrap administrator, signed in once.
    pub(crate) async fn admin(&self) -> &Account {
        self.admin
            .get_or_init(|| async {
                let mut admin = self.login("root_admin", "correct-horse-battery").await;
                admin.email = "root@example.com".to_owned();
                admin
            })
            .await
    }

    /// The body that registers this name, with the seed's password.
    pub(crate) fn registration(name: &str) -> Value {
        json!({"username": name, "email": format!("{name}@example.com"), "password": "securepassword123"})
    }

    /// Registers; gives the user's id.
    pub(crate) async fn register(&self, name: &str) -> String {
        let user = self.post("/auth/register").json(&Self::registration(name)).send().await.expect(201).json();
        user["id"].as_str().expect("an id").to_owned()
    }

    pub(crate) async fn try_login(&self, name: &str, password: &str) -> Answer {
        self.post("/auth/login").json(&json!({"username": name, "password": password})).send().await
    }

    pub(crate) async fn login(&self, name: &str, password: &str) -> Account {
        let tokens = self.try_login(name, password).await.expect(200).json();
        assert!(tokens["refresh_token"].is_string(), "no refresh token");
        Account {
            username: name.to_owned(),
            email: format!("{name}@example.com"),
            password: password.to_owned(),
            ..Account::of(&tokens)
        }
    }

    /// Registers and signs in.
    pub(crate) async fn user(&self, name: &str) -> Account {
        self.register(name).await;
        self.login(name, "securepassword123").await
    }

    /// Registers, gives these roles beside the default one, and signs in.
    pub(crate) async fn user_with_roles(&self, name: &str, roles: &[&str]) -> Account {
        let id = self.register(name).await;
        for role in roles {
            self.set_role("PUT", &id, role).await;
        }
        self.login(name, "securepassword123").await
    }

    /// Assigns (`PUT`) or takes (`DELETE`) a role, as the administrator.
    pub(crate) async fn set_role(&self, method: &str, user: &str, role: &str) {
        let path = format!("/admin/users/{user}/roles/{role}");
        self.call(method, &path).bearer(&self.admin().await.access).send().await.expect(204);
    }

    /// Changes a user, as the administrator.
    pub(crate) async fn change_user(&self, user: &str, change: Value) -> Value {
        let call = self.patch(&format!("/admin/users/{user}")).bearer(&self.admin().await.access);
        call.json(&change).send().await.expect(200).json()
    }

    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        self.post("/auth/refresh").json(&json!({"refresh_token": token})).send().await
    }

    /// The status of `GET /auth/me` with this access token.
    pub(crate) async fn me(&self, access: &str) -> Answer {
        self.get("/auth/me").bearer(access).send().await
    }

    /// The audit records that this query finds, newest first.
    pub(crate) async fn audit(&self, query: &str) -> Vec<Value> {
        let call = self.get(&format!("/audit/logs?{query}")).bearer(&self.admin().await.access);
        super::items(&call.send().await.expect(200).json()).to_vec()
    }

    /// The one audit record of a request, looked for among the latest 1,000.
    pub(crate) async fn record_of(&self, answer: &Answer) -> Value {
        let id = answer.header("x-request-id").expect("every answer has one").to_owned();
        let found: Vec<Value> =
            self.audit("limit=1000").await.into_iter().filter(|record| record["request_id"] == *id).collect();
        assert_eq!(found.len(), 1, "records of {id}: {found:?}");
        found.into_iter().next().expect("one")
    }

    /// That neither the log nor the journal has a password or the key that all tests use, or what looks like a token.
    fn assert_nothing_leaked(&self) {
        let folder = self.launch.data_dir().join("audit");
        let files = std::fs::read_dir(folder).into_iter().flatten().filter_map(|file| Some(file.ok()?.path()));
        let journal = files.filter_map(|path| std::fs::read(path).ok());
        for text in journal.chain([self.log().into_bytes()]) {
            for line in String::from_utf8_lossy(&text).lines() {
                for secret in [SECRET, "securepassword123", "correct-horse-battery"] {
                    assert!(!line.contains(secret), "{secret} was written: {line}");
                }
                assert!(!has_token(line), "what looks like a token was written: {line}");
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the child is there");
    }

    /// `SIGTERM`, and waits for the end.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait().await
    }

    /// `SIGKILL`: no chance to clean up.
    pub(crate) async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait().await;
    }

    /// Waits for an end that comes by itself, or by a signal.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + STOP_WITHIN;
        loop {
            if let Some(status) = self.child.try_wait().expect("can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "still there after {STOP_WITHIN:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- what the service wrote ---\n{}---", self.log());
        } else {
            self.assert_nothing_leaked();
        }
    }
}
