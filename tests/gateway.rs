//! The gateways of `examples/gateway`, from outside: the real nginx and the real Caddy with the files that are
//! shipped, in front of a backend that tells what reached it, with the real service as the judge.
//!
//! Of the files only the three ports are replaced. Where a gateway is not installed its tests pass loudly, unless
//! `TEST_GATEWAYS=required`.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on has failed")]

#[path = "support/mod.rs"]
#[expect(dead_code, unused_imports, unused_macros, reason = "other suites use the rest")]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpSocket;

use support::port::Port;
use support::raw::raw_on;
use support::{Account, Answer, Database, TestApp, slot};

/// Where the tests' clients call from: not the gateways' address, which the service trusts.
const CLIENT: &str = "127.0.0.5";

/// How long a gateway may take to listen.
const START_WITHIN: Duration = Duration::from_secs(20);

// --- What stands behind the gateways ---

/// A request as its bytes were.
struct Seen {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Seen {
    fn read(stream: &mut BufReader<TcpStream>) -> Option<Self> {
        let first = line(stream)?;
        let mut words = first.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = Vec::new();
        loop {
            let line = line(stream)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut seen = Self { method, target, headers, body: Vec::new() };
        if seen.values("transfer-encoding") == ["chunked"] {
            loop {
                let size = usize::from_str_radix(&line(stream)?, 16).ok()?;
                if size == 0 {
                    break;
                }
                let mut chunk = vec![0; size];
                stream.read_exact(&mut chunk).ok()?;
                seen.body.extend(chunk);
                line(stream)?;
            }
            // Fields after the body are fields too.
            while let Some((name, value)) = line(stream)?.split_once(':') {
                seen.headers.push((name.to_owned(), value.trim().to_owned()));
            }
        } else if let Some(length) = seen.values("content-length").first() {
            seen.body = vec![0; length.parse().ok()?];
            stream.read_exact(&mut seen.body).ok()?;
        }
        Some(seen)
    }

    /// The values of this header, by its exact name in any case.
    fn values(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// What a backend that reads headers as variables takes for this one, joined as such backends do.
    fn folded(&self, variable: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(name, _)| fold(name) == variable);
        named.map(|(_, value)| value.as_str()).collect()
    }

    fn to_json(&self) -> Value {
        let body = String::from_utf8_lossy(&self.body);
        json!({"method": self.method, "target": self.target, "headers": self.headers, "body": body})
    }
}

/// One line, each byte a character, without its end.
fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut bytes = Vec::new();
    stream.read_until(b'\n', &mut bytes).ok()?;
    let text = bytes.strip_suffix(b"\r\n")?;
    Some(text.iter().map(|byte| char::from(*byte)).collect())
}

/// A header's name as CGI, WSGI, Rack and PHP read it, the most generous of them.
fn fold(name: &str) -> String {
    name.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// A server that keeps what it got: the backend, or a stand-in for the service.
struct Stub {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Stub {
    /// Answers with these bytes; with none it keeps the connection open and says nothing.
    fn start(answer: impl Fn(&Seen) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, kept) = (Arc::new(answer), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, kept) = (Arc::clone(&answer), Arc::clone(&kept));
                std::thread::spawn(move || {
                    let mut stream = BufReader::new(stream);
                    let Some(request) = Seen::read(&mut stream) else { return };
                    let answer = answer(&request);
                    kept.lock().unwrap().push(request);
                    match answer {
                        Some(answer) => drop(stream.get_mut().write_all(answer.as_bytes())),
                        None => drop(stream.read_to_end(&mut Vec::new())),
                    }
                });
            }
        });
        Self { port, seen }
    }

    /// A backend that answers with what it got, as JSON.
    fn echo() -> Self {
        Self::start(|request| {
            Some(http("200 OK", "Content-Type: application/json\r\n", &request.to_json().to_string()))
        })
    }

    /// What has come since the last look.
    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    #[track_caller]
    fn take_one(&self, what: &str) -> Seen {
        let mut seen = self.take();
        assert_eq!(seen.len(), 1, "{what}: not one request");
        seen.remove(0)
    }
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

// --- The gateways ---

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Nginx,
    Caddy,
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
        }
    }

    /// The program: on the PATH, or where Debian puts it, which is not on everybody's.
    fn find(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
        let found = folders.map(|folder| folder.join(self.program())).find(|program| program.exists());
        if found.is_none() {
            let line = format!("\nTHE GATEWAY WAS NOT TESTED: {} is not installed\n", self.program());
            assert!(std::env::var("TEST_GATEWAYS").as_deref() != Ok("required"), "{line}");
            // Not `eprintln!`, which the test runner would keep to itself.
            drop(std::io::stderr().write_all(line.as_bytes()));
        }
        found
    }
}

/// One running gateway; it dies with the test.
struct Gateway {
    kind: Kind,
    child: Child,
    port: Port,
    home: TempDir,
}

impl Gateway {
    /// Every one that is installed, in front of this service and this backend.
    async fn all(portcullis: u16, backend: u16) -> Vec<Self> {
        let mut gateways = Vec::new();
        for kind in [Kind::Nginx, Kind::Caddy] {
            if let Some(program) = kind.find() {
                gateways.push(Self::start(kind, &program, portcullis, backend).await);
            }
        }
        gateways
    }

    async fn start(kind: Kind, program: &Path, portcullis: u16, backend: u16) -> Self {
        let mut gateway = Self::spawn(kind, program, portcullis, backend);
        let deadline = Instant::now() + START_WITHIN;
        while TcpStream::connect(("127.0.0.1", gateway.port.number())).is_err() {
            assert!(gateway.child.try_wait().unwrap().is_none(), "{kind:?} does not start");
            assert!(Instant::now() < deadline, "{kind:?} does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        gateway
    }

    fn spawn(kind: Kind, program: &Path, portcullis: u16, backend: u16) -> Self {
        let home = tempfile::Builder::new().prefix("portcullis-gateway").tempdir().unwrap();
        let port = Port::reserve();
        let name = if kind == Kind::Nginx { "nginx.conf" } else { "Caddyfile" };
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/gateway").join(name);
        let mut text = std::fs::read_to_string(shipped).unwrap();
        for (shipped, used) in [(":8000", port.number()), (":8080", portcullis), (":9000", backend)] {
            assert!(text.contains(shipped), "{name} has no {shipped}");
            text = text.replace(shipped, &format!(":{used}"));
        }
        let config = home.path().join(name);
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(program);
        command.current_dir(home.path()).env_clear().env("HOME", home.path()).stdin(Stdio::null());
        match kind {
            // One process, so that it ends whole when it is killed.
            Kind::Nginx => {
                command.arg("-p").arg(home.path()).arg("-c").arg(&config);
                command.args(["-e", "stderr", "-g", "daemon off; master_process off;"])
            }
            Kind::Caddy => command.args(["run", "--config"]).arg(&config),
        };
        let log = std::fs::File::create(home.path().join("log")).unwrap();
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().expect("the gateway starts");
        Self { kind, child, port, home }
    }

    /// Sends these bytes from the client's address.
    async fn raw(&self, request: &[u8]) -> Answer {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(CLIENT.parse().unwrap(), 0)).unwrap();
        raw_on(socket.connect(([127, 0, 0, 1], self.port.number()).into()).await.expect("connects"), request).await
    }

    /// A request whose head is written by hand; `headers` are whole lines.
    async fn ask(&self, who: Option<&Account>, method: &str, target: &str, headers: &str, body: &str) -> Answer {
        let token = who.map(|who| format!("Authorization: Bearer {}\r\n", who.access)).unwrap_or_default();
        // `Connection: close`, unless the case has its own to say.
        let connection = if headers.contains("Connection:") { "" } else { "Connection: close\r\n" };
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!("{method} {target} HTTP/1.1\r\nHost: gateway.test\r\n{connection}{token}{length}{headers}");
        self.raw(format!("{head}\r\n{body}").as_bytes()).await
    }

    async fn get(&self, who: Option<&Account>, target: &str) -> Answer {
        self.ask(who, "GET", target, "", "").await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
            eprintln!("--- what {:?} wrote ---\n{log}---", self.kind);
        }
    }
}

/// The whole picture, with two users: one who has an account and nothing else, one with `reports:read`.
struct Scene {
    app: TestApp,
    backend: Stub,
    gateways: Vec<Gateway>,
    jane: Account,
    john: Account,
    /// The service's, so that it finds it again after a death.
    port: Port,
}

async fn scene() -> Scene {
    let port = Port::reserve();
    let app = Database::sqlite().app().env("PORT", &port.number().to_string());
    let app = app.env("TRUSTED_PROXIES", "127.0.0.1").start().await;
    let backend = Stub::echo();
    let gateways = Gateway::all(app.port(), backend.port).await;
    let jane = app.user("janedoe").await;
    app.set_role("DELETE", &jane.id, "viewer").await;
    let john = app.user("johndoe").await;
    Scene { app, backend, gateways, jane, john, port }
}

// --- The rules ---

/// Paths, and what a stranger, an account, and an account with `reports:read` get for them. A 200 is the backend's.
const PATHS: &[(&str, [u16; 3])] = &[
    // Public is what is listed, and nothing like it.
    ("/public", [200, 200, 200]),
    ("/public?", [200, 200, 200]),
    ("/public?x=1?y=/../api/reports", [200, 200, 200]),
    ("/public/", [401, 200, 200]),
    ("/public/x", [401, 200, 200]),
    ("/PUBLIC", [401, 200, 200]),
    ("/public.json", [401, 200, 200]),
    ("/publicly", [401, 200, 200]),
    // What is not listed needs an account.
    ("/", [401, 200, 200]),
    ("/?/public", [401, 200, 200]),
    ("/api/projects?x={http.request.header.Host}&y=$uri", [401, 200, 200]),
    ("/api/projects", [401, 200, 200]),
    ("/api/projects?permission=admin&role=admin", [401, 200, 200]),
    ("/auth", [401, 200, 200]),
    // What needs a permission needs it in every spelling.
    ("/api/reports", [401, 403, 200]),
    ("/api/reports/", [401, 403, 200]),
    ("/api/reports/2026/q3.pdf", [401, 403, 200]),
    ("/api/reports?permission=projects:read&x=1?y=2", [401, 403, 200]),
    ("/api/reports?/../../public", [401, 403, 200]),
    ("/API/Reports", [401, 403, 200]),
    ("/api/rEPORTS/7", [401, 403, 200]),
    ("/api/reports.json", [401, 403, 200]),
    ("/api/reports-of-all", [401, 403, 200]),
    ("http://elsewhere.test/api/reports", [401, 403, 200]),
    ("http://elsewhere.test/public", [200, 200, 200]),
    // What two could read in two ways nobody reads.
    ("//api/reports", [400; 3]),
    ("/api//reports", [400; 3]),
    ("/api/reports//", [400; 3]),
    ("//public", [400; 3]),
    ("/api/./reports", [400; 3]),
    ("/public/../api/reports", [400; 3]),
    ("/api/reports/../public", [400; 3]),
    ("/api/reports/../../public", [400; 3]),
    ("/api/reports/..", [400; 3]),
    ("/api/reports/.", [400; 3]),
    ("/api/reports.", [400; 3]),
    ("/auth/../api/reports", [400; 3]),
    ("/.well-known/x", [400; 3]),
    ("/public/%2e%2e/api/reports", [400; 3]),
    ("/public/.%2E/api/reports", [400; 3]),
    ("/api/reports/%2e%2e/%2e%2e/public", [400; 3]),
    ("/auth/%2e%2e/api/reports", [400; 3]),
    ("/auth%2f..%2fapi/reports", [400; 3]),
    ("/api%2freports", [400; 3]),
    ("/api%2Freports", [400; 3]),
    ("/api%5creports", [400; 3]),
    ("/api\\reports", [400; 3]),
    ("/public\\..\\api\\reports", [400; 3]),
    ("/api/%72eports", [400; 3]),
    ("/%70ublic", [400; 3]),
    ("/api/%2572eports", [400; 3]),
    ("/api/r%u0065ports", [400; 3]),
    ("/api/%c0%aereports", [400; 3]),
    ("/api/reports%00", [400; 3]),
    ("/api/reports%20", [400; 3]),
    ("/public%0d%0aX-User-Id:%20evil", [400; 3]),
    ("/public%3f/../api/reports", [400; 3]),
    ("/public%23", [400; 3]),
    ("/public#/api/reports", [400; 3]),
    ("/api/reports;x", [400; 3]),
    ("/api/reports;x=/../public", [400; 3]),
    ("/public;x", [400; 3]),
    ("/public/..;/api/reports", [400; 3]),
    ("/api;x/reports", [400; 3]),
    ("/api/r\u{e9}ports", [400; 3]),
    ("/{http.request.header.Host}", [400; 3]),
    ("/api/$uri", [400; 3]),
    ("http://elsewhere.test//api/reports", [400; 3]),
    ("http://elsewhere.test/public/../api/reports", [400; 3]),
    ("public", [400; 3]),
    ("*", [400; 3]),
];

#[tokio::test]
async fn what_reaches_the_backend_is_what_was_decided_on() {
    let _slot = slot().await;
    let Scene { backend, gateways, jane, john, .. } = &scene().await;
    for gateway in gateways {
        for (target, statuses) in PATHS {
            for (who, status) in [None, Some(jane), Some(john)].into_iter().zip(statuses) {
                let what = format!("{:?}: {target} by {:?}", gateway.kind, who.map(|who| &who.username));
                let answer = gateway.get(who, target).await;
                assert_eq!(answer.status, *status, "{what}: {}", answer.text());
                if *status == 200 {
                    let seen = backend.take_one(&what);
                    let path = target.strip_prefix("http://elsewhere.test").unwrap_or(target);
                    // A `?` with nothing behind it may be left out.
                    assert_eq!(seen.target.trim_end_matches('?'), path.trim_end_matches('?'), "{what}");
                    assert_eq!(answer.json(), seen.to_json(), "{what}");
                } else {
                    assert!(backend.take().is_empty(), "{what}: reached the backend");
                }
            }
        }
    }
}

#[tokio::test]
async fn any_method_is_decided_alike() {
    let _slot = slot().await;
    let Scene { backend, gateways, jane, john, .. } = &scene().await;
    for gateway in gateways {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
            for (who, status) in [(None, 401), (Some(jane), 403), (Some(john), 200)] {
                let what = format!("{:?}: {method} by {:?}", gateway.kind, who.map(|who| &who.username));
                // A preflight, to a gateway, is a request like any other.
                let preflight = "Origin: https://a.test\r\nAccess-Control-Request-Method: GET\r\n";
                let answer = gateway.ask(who, method, "/api/reports", preflight, "").await;
                assert_eq!(answer.status, status, "{what}: {}", answer.text());
                let methods: Vec<String> = backend.take().into_iter().map(|seen| seen.method).collect();
                assert_eq!(methods, if status == 200 { vec![method] } else { vec![] }, "{what}");
            }
        }
        // Whatever becomes of these, no stranger gets through.
        for method in ["TRACE", "CONNECT", "get", "G\u{e9}T", "GET /public HTTP/1.1\r\nX: "] {
            let answer = gateway.ask(None, method, "/api/reports", "", "").await;
            let seen: Vec<String> = backend.take().into_iter().map(|seen| seen.target).collect();
            assert!(seen.iter().all(|target| target == "/public"), "{method}: {} {seen:?}", answer.status);
        }
    }
}

/// Every spelling of this name that some backend reads as the name itself.
fn spellings(name: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    for (index, part) in name.split('-').enumerate() {
        // All that a header's name may hold beside letters and digits (RFC 9110 §5.6.2).
        let separators =
            if index == 0 { vec![String::new()] } else { "-_.!#$%&'*+^`|~".chars().map(String::from).collect() };
        let longer =
            names.iter().flat_map(|name| separators.iter().map(move |between| format!("{name}{between}{part}")));
        names = longer.collect();
    }
    names.iter().flat_map(|name| [name.clone(), name.to_lowercase(), name.to_uppercase()]).collect()
}

#[tokio::test]
async fn only_the_service_says_who_is_asking() {
    let _slot = slot().await;
    let Scene { app, backend, gateways, jane, john, .. } = &scene().await;
    app.set_role("PUT", &john.id, "analyst").await;
    for gateway in gateways {
        // Well-formed ones must do nothing; others may be refused.
        let (mut lies, mut malformed): (Vec<String>, Vec<String>) = Default::default();
        for name in ["X-User-Id", "X-Username", "X-User-Roles"] {
            for some in spellings(name).chunks(100) {
                // Each twice: with what the client made up, and with another's id.
                lies.push(some.iter().map(|name| format!("{name}: evil\r\n{name}: {}\r\n", john.id)).collect());
            }
            // A header named in Connection is taken off on the way: ours must arrive all the same.
            lies.push(format!("Connection: close, {name}\r\n{name}: evil\r\n"));
            malformed.extend([" ", "\t", "\0", "\u{ad}", "\u{a0}"].map(|odd| format!("{name}{odd}: evil\r\n")));
            malformed.extend([" ", "\t", "\0", "\u{ad}"].map(|odd| format!("{}: evil\r\n", name.replace('-', odd))));
            malformed.extend([" ", "\t", "A: a\r\n ", "A: a\r\n\t"].map(|odd| format!("{odd}{name}: evil\r\n")));
            // Bare line ends.
            malformed.extend(["\n", "\r"].map(|end| format!("A: a{end}{name}: evil\r\n")));
        }
        for (who, target) in [
            (None, "/public"),
            (Some(john), "/public"),
            (Some(jane), "/api/projects"),
            (Some(john), "/api/projects"),
            (Some(john), "/api/reports"),
        ] {
            for lie in lies.iter().chain(&malformed) {
                let what = format!("{:?}: {target} by {:?} with {lie:?}", gateway.kind, who.map(|who| &who.username));
                let answer = gateway.ask(who, "GET", target, lie, "").await;
                if answer.status != 200 {
                    assert!(malformed.contains(lie) && backend.take().is_empty(), "{what}: {}", answer.status);
                    continue;
                }
                let seen = backend.take_one(&what);
                let identity =
                    ["X_USER_ID", "X_USERNAME", "X_USER_ROLES"].map(|variable| seen.folded(variable).join("|"));
                let expected = match who {
                    Some(who) if target != "/public" => {
                        let roles = if who.id == john.id { "analyst,viewer" } else { "" };
                        [who.id.clone(), who.username.clone(), roles.to_owned()]
                    }
                    _ => Default::default(),
                };
                assert_eq!(identity, expected, "{what}");
            }
        }
        // After the body.
        let trailer = "Trailer: X-User-Id\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-User-Id: evil\r\n";
        let answer = gateway.ask(Some(john), "POST", "/api/projects", trailer, "").await;
        assert!([200, 400].contains(&answer.status));
        for seen in backend.take() {
            assert_eq!(seen.folded("X_USER_ID"), [&john.id], "{:?}: a trailer", gateway.kind);
        }
    }
}

/// What a client could say to pass for another, or its request for another.
const CLAIMS: &str = "X-Original-URI: /lie\r\nX-Original-Uri: /lie\r\nx-original-url: /lie\r\nX_Original_URI: /lie\r\n\
    X-Original-Method: LIE\r\nX-Forwarded-Method: LIE\r\nX-Forwarded-Uri: /lie\r\nX-Forwarded-URI: /lie\r\n\
    X_Forwarded_Uri: /lie\r\nX-Rewrite-URL: /lie\r\nX-HTTP-Method-Override: LIE\r\nX-Forwarded-Prefix: /lie\r\n\
    X-Forwarded-For: 198.51.100.66\r\nx-forwarded-for: 198.51.100.66\r\nX_Forwarded_For: 198.51.100.66\r\n\
    Forwarded: for=198.51.100.66\r\nX-Real-IP: 198.51.100.66\r\nX-Forwarded-Host: lie.test\r\n\
    X-Forwarded-Proto: lie\r\n";

#[tokio::test]
async fn the_audit_log_has_the_clients_own_request() {
    let _slot = slot().await;
    let Scene { app, backend, gateways, john, .. } = &scene().await;
    for gateway in gateways {
        for (method, target) in [("POST", "/api/reports/7?key=in-the-query"), ("GET", "/api/reports")] {
            gateway.ask(Some(john), method, target, CLAIMS, "").await.expect(200);
            let seen = backend.take_one(target);
            let told = json!(seen.headers).to_string().to_lowercase();
            assert!(!told.contains("lie") && !told.contains("198.51"), "{:?}: {told}", gateway.kind);
            assert_eq!(seen.values("x-forwarded-for"), [CLIENT]);

            let record = app.audit("action=VERIFY&limit=1").await.remove(0);
            assert_eq!(record["metadata"]["original_method"], method, "{:?}: {record}", gateway.kind);
            assert_eq!(record["metadata"]["original_path"], target.split('?').next().unwrap(), "{record}");
            assert_eq!(record["metadata"]["required"], json!(["reports:read"]));
            assert_eq!(record["ip_address"], CLIENT, "{:?}: {record}", gateway.kind);
            assert_eq!(record["username"], "johndoe");
            let record = record.to_string().to_lowercase();
            assert!(!record.contains("lie") && !record.contains("198.51"), "{record}");
            assert!(!record.contains("in-the-query"), "{record}");
        }
        // Nor may a client that asks by itself borrow the gateway's word.
        let asked =
            gateway.ask(Some(john), "GET", "/auth/verify?permission=reports:read", CLAIMS, "").await.expect(200);
        let record = app.record_of(&asked).await;
        assert_eq!(record["ip_address"], CLIENT, "{:?}: {record}", gateway.kind);
        assert!(!record.to_string().to_lowercase().contains("lie"), "{:?}: {record}", gateway.kind);
        assert!(backend.take().is_empty());
    }
}

#[tokio::test]
async fn a_refusal_reaches_the_client() {
    let _slot = slot().await;
    let Scene { backend, gateways, jane, john, .. } = &scene().await;
    for gateway in gateways {
        let forged = Account { access: john.forge().signed_with("x".repeat(64)).token(), ..john.clone() };
        for (who, target, status, code) in [
            (None, "/api/reports", 401, "not_authenticated"),
            (None, "/api/projects", 401, "not_authenticated"),
            (Some(&forged), "/api/reports", 401, "token_invalid"),
            (Some(jane), "/api/reports", 403, "permission_required"),
        ] {
            let answer = gateway.get(who, target).await.expect(status);
            // nginx passes on the status and the challenge; Caddy the answer as it is.
            if gateway.kind == Kind::Caddy {
                answer.problem(status, code);
            }
            if status == 401 {
                let challenge = answer.header("www-authenticate").expect("a challenge");
                assert!(challenge.starts_with("Bearer"), "{challenge}");
                assert_eq!(challenge.contains("invalid_token"), who.is_some(), "{challenge}");
            }
        }
        // Two tokens are none.
        let two = format!("Authorization: Bearer {}\r\n", jane.access);
        let answer = gateway.ask(Some(john), "GET", "/api/reports", &two, "").await;
        answer.expect_one_of(&[400, 401]);
        assert!(backend.take().is_empty(), "{:?}", gateway.kind);
    }
}

#[tokio::test]
async fn accounts_are_the_services_own_business() {
    let _slot = slot().await;
    let Scene { backend, gateways, john, .. } = &scene().await;
    for gateway in gateways {
        let login = json!({"username": "johndoe", "password": "securepassword123"}).to_string();
        let answer = gateway.ask(None, "POST", "/auth/login", "Content-Type: application/json\r\n", &login).await;
        assert!(answer.expect(200).json()["access_token"].is_string());
        assert_eq!(gateway.get(Some(john), "/auth/me").await.expect(200).json()["username"], "johndoe");
        gateway.get(None, "/auth/me").await.problem(401, "not_authenticated");
        assert!(backend.take().is_empty(), "{:?}", gateway.kind);
    }
}

#[tokio::test]
async fn only_the_backend_gets_the_body() {
    let _slot = slot().await;
    let yes = "X-User-Id: 7\r\nX-Username: johndoe\r\n";
    let (judge, backend) = (Stub::start(move |_| Some(http("200 OK", yes, ""))), Stub::echo());
    for gateway in Gateway::all(judge.port, backend.port).await {
        let body = "b".repeat(300_000);
        let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        for (headers, body) in [
            (format!("Content-Length: {}\r\n", body.len()), body.clone()),
            ("Transfer-Encoding: chunked\r\n".to_owned(), chunked),
            ("Content-Length: 0\r\n".to_owned(), String::new()),
        ] {
            let head = "POST /api/reports?x=1 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nAuthorization: Bearer t";
            let more = "User-Agent: curl\r\nContent-Type: text/plain\r\nX-User-Roles: evil\r\n";
            let request = format!("{head}\r\n{more}{headers}\r\n{body}");
            gateway.raw(request.as_bytes()).await.expect(200);
            let what = format!("{:?}: {headers}", gateway.kind);
            let asked = judge.take_one(&what);
            assert_eq!(
                [asked.method.as_str(), &asked.target],
                ["GET", "/auth/verify?permission=reports:read"],
                "{what}"
            );
            assert!(asked.body.is_empty(), "{what}");
            assert!(asked.values("content-length").is_empty(), "{what}");
            assert!(asked.values("transfer-encoding").is_empty(), "{what}");
            assert_eq!(asked.values("authorization"), ["Bearer t"], "{what}");
            assert_eq!(asked.values("user-agent"), ["curl"], "{what}");
            assert_eq!(asked.values("x-forwarded-for"), [CLIENT], "{what}");
            let got = backend.take_one(&what);
            assert_eq!(got.method, "POST", "{what}");
            assert_eq!(got.body.len(), if body.is_empty() { 0 } else { 300_000 }, "{what}");
            assert_eq!(got.folded("X_USER_ID"), ["7"], "{what}");
            // What the answer does not say, the client does not say either.
            assert!(!got.folded("X_USER_ROLES").contains(&"evil"), "{what}");
        }
    }
}

#[tokio::test]
async fn without_a_yes_nothing_reaches_the_backend() {
    let _slot = slot().await;
    // With the status that Caddy passes on, where it is an answer; nginx makes a 500 of everything.
    let answers = [
        (500, Some(http("500 Internal Server Error", "", ""))),
        (503, Some(http("503 Service Unavailable", "Retry-After: 1\r\n", "{}"))),
        (422, Some(http("422 Unprocessable Entity", "", "{}"))),
        (404, Some(http("404 Not Found", "", ""))),
        (302, Some(http("302 Found", "Location: /public\r\n", ""))),
        (502, Some("yes\r\n\r\n".to_owned())),
        (502, Some("HTTP/1.1 200 OK\r\nX-User-Id: 7\r\n".to_owned())),
        (502, Some(String::new())),
        (504, None),
    ];
    // All at once, because the last one takes as long as the gateways wait.
    let cases = answers.map(|(status, answer)| async move {
        let what = format!("after {answer:?}");
        let (judge, backend) = (Stub::start(move |_| answer.clone()), Stub::echo());
        let gateways = Gateway::all(judge.port, backend.port).await;
        let guarded = ["/api/reports", "/api/projects"];
        let asked = gateways.iter().flat_map(|gateway| guarded.map(|target| (gateway, target)));
        join_all(asked.map(|(gateway, target)| async move {
            let expected = if gateway.kind == Kind::Nginx { 500 } else { status };
            assert_eq!(gateway.get(None, target).await.status, expected, "{:?}: {target}", gateway.kind);
        }))
        .await;
        assert!(backend.take().is_empty(), "{what}: reached the backend");
        for gateway in &gateways {
            gateway.get(None, "/public").await.expect(200);
            backend.take_one("what needs no decision goes on");
        }
    });
    join_all(cases).await;
}

#[tokio::test]
async fn with_the_service_dead_the_gateway_refuses_until_it_is_back() {
    let _slot = slot().await;
    let Scene { mut app, backend, gateways, john, port: _port, .. } = scene().await;
    for gateway in &gateways {
        gateway.get(Some(&john), "/api/reports").await.expect(200);
    }
    backend.take();
    app.kill().await;
    for gateway in &gateways {
        for target in ["/api/reports", "/api/projects", "/auth/me"] {
            let answer = gateway.get(Some(&john), target).await;
            assert!((500..=504).contains(&answer.status), "{:?}: {target}: {}", gateway.kind, answer.status);
        }
    }
    assert!(backend.take().is_empty());
    let _again = app.launch.clone().start().await;
    for gateway in &gateways {
        gateway.get(Some(&john), "/api/reports").await.expect(200);
    }
}
