//! A private PostgreSQL cluster, on a Unix socket in a temporary folder and nowhere else.
//!
//! A shell that waits on a pipe from us stops it and removes the folder when the pipe closes, which it
//! does however this process ends.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// What stops the cluster: reads until the end of its input, which nobody ever writes to.
const WATCHER: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
"$@" stop -s -D "$CLUSTER/data" -m immediate
rm -rf "$CLUSTER"
"#;

/// A running cluster; stopped when dropped, and when the process ends.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: PathBuf,
    /// Held for its standard input, which is the pipe.
    watcher: Child,
    binaries: PathBuf,
    options: String,
}

impl Cluster {
    /// Starts one with these settings; `None` where there are no server binaries.
    ///
    /// # Errors
    /// There are, but they fail.
    pub(crate) fn start(settings: &[&str]) -> Result<Option<Self>, String> {
        let Some(binaries) = binaries() else { return Ok(None) };
        // A socket's path is limited to 107 bytes, so not under a long TMPDIR.
        let folder = tempfile::Builder::new().prefix("portcullis-pg.").tempdir_in("/tmp").map_err(text)?;
        if is_root() {
            done(Command::new("chown").arg("postgres:").arg(folder.path()))?;
        }
        let data = folder.path().join("data");
        let initdb = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"];
        done(tool(&binaries, "initdb").args(initdb).arg(&data))?;
        let socket = format!("unix_socket_directories={}", folder.path().display());
        let options =
            ["listen_addresses=''", &socket].iter().chain(settings).map(|setting| format!("-c {setting} ")).collect();
        let cluster = Self::watched(folder, binaries, options)?;
        cluster.begin()?;
        Ok(Some(cluster))
    }

    /// Starts the server, and waits until it takes connections.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn begin(&self) -> Result<(), String> {
        let mut start = self.control("start");
        start.arg("-l").arg(self.folder.join("log"));
        done(start.args(["-o", &self.options]))
    }

    /// Stops the server at once, as a power cut of its machine would.
    ///
    /// # Errors
    /// It does not stop.
    pub(crate) fn end(&self) -> Result<(), String> {
        done(self.control("stop").args(["-m", "immediate"]))
    }

    fn control(&self, what: &str) -> Command {
        let mut control = tool(&self.binaries, "pg_ctl");
        control.args([what, "-w", "-s", "-D"]).arg(self.folder.join("data"));
        control
    }

    /// From here on the watcher stops the cluster and removes the folder.
    fn watched(folder: TempDir, binaries: PathBuf, options: String) -> Result<Self, String> {
        let stop = tool(&binaries, "pg_ctl");
        let watcher = Command::new("sh")
            .args(["-c", WATCHER, "sh"])
            .arg(stop.get_program())
            .args(stop.get_args())
            .env("CLUSTER", folder.path())
            .current_dir("/tmp")
            // Its own group, so that an interrupt at the terminal leaves it to its work.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(text)?;
        Ok(Self { folder: folder.keep(), watcher, binaries, options })
    }

    /// The `DATABASE_URL` of one of its databases. It names no host but the socket: another server may
    /// listen on this machine, and must not be asked.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?host={}&user=postgres", self.folder.display())
    }

    /// Where it is: `data`, and the server's `log`.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        // What it can't remove is in the temporary folder.
        let _ = self.watcher.wait();
    }
}

/// The folder of `initdb`: on the PATH, else Debian's newest.
fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).find(|folder| folder.join("initdb").exists());
    on_path.or_else(|| {
        let versions = fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(Result::ok);
        let version = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max()?;
        let folder = PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"));
        folder.join("initdb").exists().then_some(folder)
    })
}

/// One of PostgreSQL's programs; as user `postgres` where we are root, which they refuse.
fn tool(binaries: &Path, name: &str) -> Command {
    let program = binaries.join(name);
    let mut command = if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/tmp");
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a program whose output is of interest only where it fails.
fn done(command: &mut Command) -> Result<(), String> {
    // Not `output()`: a server started in the background would hold its pipes open.
    let log = tempfile::NamedTempFile::new().map_err(text)?;
    command.stdin(Stdio::null()).stdout(log.reopen().map_err(text)?).stderr(log.reopen().map_err(text)?);
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {status}: {}", fs::read_to_string(log.path()).unwrap_or_default()))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
