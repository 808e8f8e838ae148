//! Sign-in by a provider as somebody at a browser has it: the page of `examples/browser` in a real Chromium, before
//! the real service, with npm's `oidc-provider` where Google, Microsoft and Okta would be.
//!
//! What is walked through stands in `tests/browser/walk.mjs`. Where Node.js or Chromium is not installed, or npm does
//! not get its packages, this passes loudly, unless `TEST_BROWSER=required`.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on has failed")]

#[path = "support/mod.rs"]
#[expect(dead_code, unused_imports, unused_macros, reason = "other suites use the rest")]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use support::port::Port;
use support::{Database, TestApp, not_tested, program};

/// What a program needs to begin, on a machine that does other things too.
const START_WITHIN: Duration = Duration::from_secs(60);
/// npm may have to fetch 16 MB.
const INSTALL_WITHIN: Duration = Duration::from_secs(300);
/// The walk takes 15 s where nothing else is done.
const WALK_WITHIN: Duration = Duration::from_secs(300);

/// A program of this test; it dies with it. The scripts also end by themselves when their standard input does, so
/// that nothing is left where this process is killed.
struct Program {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Program {
    fn start(name: &'static str, command: &mut Command, home: &Path) -> Self {
        let log = home.join(format!("{name}.log"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { name, child, log }
    }

    /// The first line that it prints.
    fn first_line(&mut self) -> String {
        let stdout = self.child.stdout.take().expect("piped");
        let (sender, line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut line = String::new();
            stdout.read_line(&mut line).ok();
            sender.send(line).ok();
            // Whatever else it has to say.
            std::io::copy(&mut stdout, &mut std::io::sink()).ok();
        });
        let line = line.recv_timeout(START_WITHIN).unwrap_or_default();
        assert!(line.ends_with('\n'), "{} does not say that it has begun", self.name);
        line.trim_end().to_owned()
    }

    /// What it prints until its end; `None` where it fails, or does not end in this time.
    async fn output(&mut self, within: Duration) -> Option<String> {
        let mut stdout = self.child.stdout.take().expect("piped");
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).map(|_| text)
        });
        let deadline = Instant::now() + within;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) if status.success() => return reader.join().unwrap().ok(),
                None if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(25)).await,
                _ => return None,
            }
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fail only where it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- what {} wrote ---\n{}---", self.name, self.log());
        }
    }
}

/// What the test can't bring along.
struct Tools {
    node: PathBuf,
    chromium: PathBuf,
    /// The scripts, with the packages that they need beside them.
    scripts: PathBuf,
}

impl Tools {
    /// # Errors
    /// What is missing.
    async fn find(home: &Path) -> Result<Self, String> {
        let chromium = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
        let chromium = chromium.into_iter().find_map(program).ok_or("Chromium is not installed")?;
        let node = program("node").ok_or("Node.js is not installed")?;
        let npm = program("npm").ok_or("npm is not installed")?;
        let said = Command::new(&node).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
        let version = String::from_utf8_lossy(&said).trim().to_owned();
        let mut parts = version.trim_start_matches('v').split('.').map_while(|part| part.parse::<u32>().ok());
        if (parts.next(), parts.next()) < (Some(20), Some(12)) {
            return Err(format!("Node.js is too old: {version}, 20.12 or later is needed"));
        }
        let scripts = install(&npm, home).await?;
        Ok(Self { node, chromium, scripts })
    }

    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.node);
        command.arg(self.scripts.join(name)).current_dir(&self.scripts);
        command
    }
}

/// A folder with the scripts and, exactly as they are locked, their packages, fetched once.
async fn install(npm: &Path, home: &Path) -> Result<PathBuf, String> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser");
    std::fs::create_dir_all(&to).unwrap();
    for name in ["package.json", "package-lock.json", "provider.mjs", "walk.mjs"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    let (installed, lock) = (to.join("installed-lock.json"), std::fs::read(to.join("package-lock.json")).unwrap());
    if std::fs::read(&installed).is_ok_and(|installed| installed == lock) {
        return Ok(to);
    }
    let mut command = Command::new(npm);
    command.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&to);
    let mut npm = Program::start("npm", &mut command, home);
    if npm.output(INSTALL_WITHIN).await.is_none() {
        return Err(format!("npm does not get the packages:\n{}", npm.log()));
    }
    std::fs::write(&installed, lock).unwrap();
    Ok(to)
}

/// The example's binary; `cargo test --test browser` alone does not build it.
fn example() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--quiet", "--example", "browser"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let built = cargo.output().expect("cargo runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Path::new(env!("CARGO_BIN_EXE_portcullis")).with_file_name("examples").join("browser")
}

/// What the audit log says of an action: these fields of its records, each once.
async fn said(app: &TestApp, action: &str, fields: &[&str]) -> BTreeSet<String> {
    let records = app.audit(&format!("action={action}&limit=1000")).await;
    let line = |record: &Value| {
        let text = |field: &&str| match record.pointer(field) {
            Some(Value::String(text)) => text.clone(),
            other => other.unwrap_or(&Value::Null).to_string(),
        };
        fields.iter().map(text).collect::<Vec<_>>().join(" ")
    };
    records.iter().map(line).collect()
}

fn lines<const N: usize>(lines: [&str; N]) -> BTreeSet<String> {
    lines.map(str::to_owned).into()
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn somebody_signs_in_at_a_browser() {
    let home: TempDir = tempfile::Builder::new().prefix("portcullis-browser").tempdir().unwrap();
    let tools = match Tools::find(home.path()).await {
        Ok(tools) => tools,
        Err(missing) => return not_tested(&format!("sign-in at a browser: {missing}"), "TEST_BROWSER"),
    };
    let example = tokio::task::spawn_blocking(example).await.unwrap();

    // One site, as it is on somebody's own machine: http://localhost, with cookies that are Secure there, too.
    let port = Port::reserve();
    let service = format!("http://localhost:{}", port.number());
    let mut page = Command::new(example);
    page.env("PORTCULLIS_URL", &service).env("PORT", "0");
    let mut page = Program::start("page", &mut page, home.path());
    let origin = page.first_line();
    let mut provider = tools.script("provider.mjs");
    provider.env("PUBLIC_URL", &service).env("PORT", "0");
    let mut provider = Program::start("provider", &mut provider, home.path());
    let settings = provider.first_line();
    let settings: BTreeMap<&str, &str> = settings.split(' ').map(|setting| setting.split_once('=').unwrap()).collect();
    let mut launch = Database::sqlite().app();
    for (name, value) in &settings {
        launch = launch.env(name, *value);
    }
    let launch = launch.env("PORT", &port.number().to_string()).env("PUBLIC_URL", &service);
    let launch = launch.env("CORS_ALLOWED_ORIGINS", &origin);
    let launch = launch.env("OAUTH_REDIRECT_ALLOWLIST", &format!("{origin}/"));
    let mut app = launch.start().await;

    let pictures = tools.scripts.join("pictures");
    let mut walk = tools.script("walk.mjs");
    walk.env("PAGE", format!("{origin}/")).env("SERVICE", &service).env("PROVIDER", settings["OAUTH_OKTA_BASE_URL"]);
    // What the browser writes goes with the test.
    walk.env("CHROMIUM", &tools.chromium).env("SCREENSHOTS", &pictures).env("TMPDIR", home.path());
    let mut walk = Program::start("walk", &mut walk, home.path());
    let output = walk.output(WALK_WITHIN).await.expect("the walk ends well");
    let secrets: Vec<String> = serde_json::from_str(&output).unwrap();

    // What the audit log has of it.
    assert_eq!(
        said(&app, "OAUTH_AUTHORIZE", &["/metadata/provider", "/response_status"]).await,
        lines(["google 302", "microsoft 302", "okta 302"])
    );
    let base = settings["OAUTH_OKTA_BASE_URL"];
    let okta = format!("okta {base}/oauth2/default");
    let google = format!("google {base}/google");
    let microsoft = format!("microsoft {base}/{}/v2.0", settings["OAUTH_MICROSOFT_TENANTS"]);
    let account = ["/metadata/provider", "/metadata/issuer", "/metadata/subject", "/metadata/reason"];
    // At Microsoft's it is the object id that does not change.
    let mika = "00000000-0000-4000-8000-6d696b610000";
    assert_eq!(
        said(&app, "OAUTH_CALLBACK", &account).await,
        lines([
            &format!("{google} gale null"),
            &format!("{google} jane null"),
            &format!("{microsoft} {mika} null"),
            &format!("{okta} jane null"),
            "okta null null access_denied",
        ])
    );
    assert_eq!(
        said(&app, "OAUTH_LOGIN", &[&account[..], &["/username", "/response_status"]].concat()).await,
        lines([
            &format!("{google} gale null gale 200"),
            // The address is that of Okta's jane.
            &format!("{google} jane account_exists null 409"),
            &format!("{microsoft} {mika} null mika 200"),
            &format!("{okta} jane null jane 200"),
        ])
    );
    // 401 without a session or without a cookie, 403 from another's page.
    assert_eq!(
        said(&app, "TOKEN_REFRESH", &["/username", "/response_status"]).await,
        lines(["jane 200", "null 401", "null 403"])
    );
    assert_eq!(said(&app, "LOGOUT", &["/username", "/response_status"]).await, lines(["jane 204", "null 401"]));

    // What lets anybody in is written down nowhere, not even in the database.
    assert!(secrets.len() >= 20, "{}", secrets.len());
    let log = app.log();
    app.terminate().await;
    let written = files(&app.launch.data_dir()).into_iter().map(|path| (std::fs::read(&path).unwrap(), path));
    for (bytes, path) in written.chain([(log.into_bytes(), "the log".into())]) {
        let text = String::from_utf8_lossy(&bytes);
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{}: {secret}", path.display());
        }
    }
}
