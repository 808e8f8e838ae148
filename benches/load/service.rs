//! The servers under test, each a process of its own, as an operator would run it.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{Failure, http};

/// Threads that answer, in both servers.
pub(crate) const WORKERS: usize = 2;

const USERNAME: &str = "root_admin";
const PASSWORD: &str = "correct-horse-battery";

/// The first start migrates a database and hashes a password.
const START_WITHIN: Duration = Duration::from_secs(60);
/// A little more than the 15 s that the service may take.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// The copy has to follow in the end.
const DRAIN_WITHIN: Duration = Duration::from_secs(300);

/// A running server; stopped when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// The bare server ends when this does.
    _stdin: Option<ChildStdin>,
}

/// What the service says of its copy to the database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AuditCount {
    /// Records that reached the database since the start.
    pub(crate) written: u64,
    /// Records that are in the journal only, as of the copy's last round.
    pub(crate) lag: u64,
}

impl Server {
    /// The bare handler: this program again.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn bare() -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--bare").stdin(Stdio::piped());
        Self::start(command, WhenReady::Listening)
    }

    /// The service with its data in `home`, on PostgreSQL where a URL is given; an administrator is
    /// made on the first start.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn ours(home: &Path, database_url: Option<&str>, bcrypt_cost: u32) -> Result<Self, Failure> {
        let mut command = ours(home, 0);
        command.env("PASSWORD_BCRYPT_COST", bcrypt_cost.to_string());
        if let Some(url) = database_url {
            command.env("DATABASE_URL", url);
        }
        Self::start(command, WhenReady::Listening)
    }

    /// The service on SQLite in `home`, which records nothing.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn unrecorded(home: &Path, bcrypt_cost: u32) -> Result<Self, Failure> {
        let mut command = ours(home, 0);
        command.env("PASSWORD_BCRYPT_COST", bcrypt_cost.to_string()).env("ENABLE_AUDIT_LOGGING", "false");
        Self::start(command, WhenReady::Listening)
    }

    /// The service on SQLite in `home`, which asks a provider at this address about its access tokens.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn signing_in_at(home: &Path, provider: SocketAddr, bcrypt_cost: u32) -> Result<Self, Failure> {
        let mut command = ours(home, 0);
        command.env("PASSWORD_BCRYPT_COST", bcrypt_cost.to_string());
        command.env("OAUTH_GOOGLE_CLIENT_ID", "app").env("OAUTH_GOOGLE_ISSUER", format!("http://{provider}"));
        command.env("OAUTH_GOOGLE_TOKENINFO_URL", format!("http://{provider}/tokeninfo"));
        Self::start(command, WhenReady::Listening)
    }

    /// The service on the database that is in `home`, with the time from the process's start to its
    /// first 200 on `GET /`.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn timed(home: &Path) -> Result<(Self, Duration), Failure> {
        // Free a moment ago.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let begun = Instant::now();
        let server = Self::start(ours(home, port), WhenReady::At(SocketAddr::from(([127, 0, 0, 1], port))))?;
        let health = http::get("/", None);
        while begun.elapsed() < START_WITHIN {
            if matches!(http::fetch(server.address, &health), Ok((200, _))) {
                return Ok((server, begun.elapsed()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err("GET / was never answered 200".into())
    }

    fn start(mut command: Command, ready: WhenReady) -> Result<Self, Failure> {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        let stderr = BufReader::new(child.stderr.take().ok_or("no standard error")?);
        let (listening, address) = mpsc::channel();
        // Reads to the end, so that the server never waits for its log to be read.
        std::thread::spawn(move || {
            let mut log = String::new();
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening on http://") {
                    // Nobody waits where the address is known.
                    let _ = listening.send(Ok(address.trim().to_owned()));
                } else if log.len() < 10_000 {
                    log = log + "\n" + &line;
                }
            }
            let _ = listening.send(Err(log));
        });
        let mut server = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), _stdin: stdin };
        server.address = match ready {
            WhenReady::At(address) => address,
            WhenReady::Listening => match address.recv_timeout(START_WITHIN)? {
                Ok(address) => address.parse()?,
                Err(log) => return Err(format!("a server did not start:{log}").into()),
            },
        };
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The request of a login of the administrator.
    pub(crate) fn login_request() -> Vec<u8> {
        http::post("/auth/login", &json!({ "username": USERNAME, "password": PASSWORD }))
    }

    /// A fresh access token of the administrator.
    ///
    /// # Errors
    /// The login is refused.
    pub(crate) fn token(&self) -> Result<String, Failure> {
        let (status, body) = http::fetch(self.address, &Self::login_request())?;
        let answer: Value = serde_json::from_str(&body)?;
        Ok(answer["access_token"].as_str().ok_or_else(|| format!("login: {status}: {body}"))?.to_owned())
    }

    /// The request of `GET /auth/me` with a fresh access token.
    ///
    /// # Errors
    /// The login is refused.
    pub(crate) fn me_request(&self) -> Result<Vec<u8>, Failure> {
        Ok(http::get("/auth/me", Some(&self.token()?)))
    }

    /// What `/metrics` says of the copy.
    ///
    /// # Errors
    /// The figures are not there.
    pub(crate) fn audit_count(&self) -> Result<AuditCount, Failure> {
        let (_, text) = http::fetch(self.address, &http::get("/metrics", None))?;
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let value = line.and_then(|value| value.trim().parse::<f64>().ok());
            value.map(|value| value as u64).ok_or_else(|| format!("/metrics has no {name}"))
        };
        Ok(AuditCount {
            written: value("portcullis_audit_records_written_total")?,
            lag: value("portcullis_audit_lag_records")?,
        })
    }

    /// Waits until the database has `written` records of this process, and the journal nothing more.
    ///
    /// # Errors
    /// It takes longer than five minutes.
    pub(crate) fn drained(&self, written: u64) -> Result<Duration, Failure> {
        let begun = Instant::now();
        while begun.elapsed() < DRAIN_WITHIN {
            let count = self.audit_count()?;
            if count.written >= written && count.lag == 0 {
                return Ok(begun.elapsed());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("the copy did not reach {written} records: {:?}", self.audit_count()?).into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already, or gone soon; either way the kill at the end is the last word.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let begun = Instant::now();
        while begun.elapsed() < STOP_WITHIN && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

enum WhenReady {
    /// When it says where it listens.
    Listening,
    /// At once: it was told where.
    At(SocketAddr),
}

fn ours(home: &Path, port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.current_dir(home).env_clear().stdin(Stdio::null()).envs(variables(home));
    command.env("PORT", port.to_string());
    command
}

/// The service's environment, but for its port, its database and what is measured.
pub(crate) fn variables(home: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("HOST", "127.0.0.1".to_owned()),
        ("RUST_LOG", "info".to_owned()),
        // 64 characters; what it guards is gone with the benchmark.
        ("JWT_SECRET_KEY", "b2f1c7e09a4d5863".repeat(4)),
        ("BOOTSTRAP_ADMIN_USERNAME", USERNAME.to_owned()),
        ("BOOTSTRAP_ADMIN_EMAIL", "root@example.com".to_owned()),
        ("BOOTSTRAP_ADMIN_PASSWORD", PASSWORD.to_owned()),
        ("DATA_DIR", home.join("data").display().to_string()),
        ("WORKERS", WORKERS.to_string()),
    ]
}
