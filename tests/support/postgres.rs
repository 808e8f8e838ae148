//! A PostgreSQL server to test on: the one of `TEST_DATABASE_URL`, or a private one for this process.
//!
//! The private cluster listens on a Unix socket in a temporary folder and nowhere else. A shell that
//! waits on a pipe from us stops it and removes the folder when the pipe closes, which it does
//! however this process ends.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::database::postgres_query;

/// What stops the cluster: reads until the end of its input, which nobody ever writes to.
const WATCHER: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
"$@" stop -D "$CLUSTER/data" -m immediate
rm -rf "$CLUSTER"
"#;

struct Server {
    /// Of the database `postgres`, to make others from.
    admin: String,
    /// Up to the new database's name, and after it.
    url: (String, String),
    /// Held for its standard input, which is the pipe.
    _watcher: Option<Child>,
}

static SERVER: OnceLock<Option<Server>> = OnceLock::new();

/// The database `postgres` of the server that fresh ones are on.
pub(super) fn maintenance_url() -> &'static str {
    SERVER.get().and_then(Option::as_ref).map(|server| server.admin.as_str()).expect("a server")
}

/// The URL of a new, empty database; none where there is no server.
pub(super) async fn fresh_database() -> Option<String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let server = SERVER.get_or_init(find_or_start).as_ref()?;
    let name = format!("portcullis_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    postgres_query(&server.admin, &format!("CREATE DATABASE {name}")).await;
    let (before, after) = &server.url;
    Some(format!("{before}{name}{after}"))
}

fn find_or_start() -> Option<Server> {
    if let Ok(url) = std::env::var("TEST_DATABASE_URL") {
        let admin = url.clone();
        let url = reqwest::Url::parse(&url).expect("TEST_DATABASE_URL is a URL");
        let after = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let before = url.as_str().split('?').next().unwrap_or_default();
        let before = before.strip_suffix(url.path()).unwrap_or(before);
        return Some(Server { admin, url: (format!("{before}/"), after), _watcher: None });
    }
    match binaries().map(|folder| start(&folder)) {
        Some(Ok(server)) => return Some(server),
        Some(Err(why)) => not_tested(&why),
        None => not_tested("no server binaries found, and TEST_DATABASE_URL is not set"),
    }
    None
}

/// Says it on the real standard error: the test runner would keep `eprintln!` to itself.
fn not_tested(why: &str) {
    let line = format!("\nPOSTGRESQL WAS NOT TESTED: {why}\n");
    assert!(std::env::var("TEST_POSTGRES").as_deref() != Ok("required"), "{line}");
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// The folder of `initdb`: on the PATH, else Debian's newest.
fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).find(|folder| folder.join("initdb").exists());
    on_path.or_else(|| {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(Result::ok);
        let mut versions: Vec<u32> =
            versions.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok())).collect();
        versions.sort_unstable_by(|a, b| b.cmp(a));
        let mut folders = versions.iter().map(|version| format!("/usr/lib/postgresql/{version}/bin").into());
        folders.find(|folder: &PathBuf| folder.join("initdb").exists())
    })
}

fn start(binaries: &Path) -> Result<Server, String> {
    // A socket's path is limited to 107 bytes, so not under a long TMPDIR.
    let cluster = tempfile::Builder::new().prefix("portcullis-pg.").tempdir_in("/tmp").map_err(|e| e.to_string())?;
    // The server refuses root: then everything is run as `postgres`, and the folder is its own.
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        done(Command::new("chown").arg("postgres:").arg(cluster.path()))?;
    }
    let tool = |name: &str| -> Vec<String> {
        let tool = binaries.join(name).display().to_string();
        let prefix: &[&str] = if is_root { &["runuser", "-u", "postgres", "--"] } else { &[] };
        prefix.iter().map(|word| (*word).to_owned()).chain([tool]).collect()
    };
    let run = |tool: &[String]| {
        let mut command = Command::new(&tool[0]);
        command.args(&tool[1..]).current_dir("/tmp");
        command
    };
    let (data, socket) = (cluster.path().join("data"), cluster.path().to_owned());
    let initdb = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"];
    done(run(&tool("initdb")).args(initdb).arg(&data))?;
    let watcher = Command::new("sh")
        .args(["-c", WATCHER, "sh"])
        .args(tool("pg_ctl"))
        .env("CLUSTER", cluster.path())
        .current_dir("/tmp")
        // Its own group, so that an interrupt at the terminal leaves it to its work.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("sh: {error}"))?;
    // From here on the watcher removes the folder.
    let cluster = cluster.keep();
    let options = format!(
        "-c listen_addresses='' -c unix_socket_directories={} -c fsync=off -c full_page_writes=off \
         -c max_connections=300 -c shared_buffers=64MB",
        socket.display()
    );
    let mut server = run(&tool("pg_ctl"));
    server.args(["start", "-w", "-s", "-D"]).arg(&data).arg("-l").arg(cluster.join("log")).args(["-o", &options]);
    done(server.stdin(Stdio::null()))?;
    let after = format!("?host={}", socket.display());
    // No `localhost` here: another server may listen there, and must not be asked for new databases.
    let admin = format!("postgres:///postgres{after}&user=postgres");
    Ok(Server { admin, url: ("postgres://postgres@localhost/".to_owned(), after), _watcher: Some(watcher) })
}

/// Runs a tool whose output is of interest only where it fails.
fn done(command: &mut Command) -> Result<(), String> {
    // Not `output()`: a server started in the background would hold its pipes open.
    let log = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let stream = || log.reopen().map(Stdio::from).map_err(|error| error.to_string());
    let status =
        command.stdout(stream()?).stderr(stream()?).status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {status}: {}", std::fs::read_to_string(log.path()).unwrap_or_default()))
}
