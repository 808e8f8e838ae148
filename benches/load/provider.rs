//! `GET /auth/me` while many wait for a sign-in provider that hangs: they must slow nobody else.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::client::Load;
use crate::options::Options;
use crate::report::{Report, median, whole};
use crate::service::Server;
use crate::{Failure, http, progress};

/// The least that the service takes.
const BCRYPT_COST: u32 = 10;
const WAITING: usize = 200;
/// A sign-in has five seconds; who goes away leaves it running to its end.
const OVER_AFTER: Duration = Duration::from_secs(6);

const LEAST: f64 = 0.9;

/// Runs the rounds and reports them.
///
/// # Errors
/// A server fails, or answers `GET /auth/me` with anything but 200.
pub(crate) fn measure(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let hanging = hang()?;
    let home = tempfile::Builder::new().prefix("portcullis-load.").tempdir()?;
    let server = Server::signing_in_at(home.path(), hanging, BCRYPT_COST)?;
    let request = server.me_request()?;
    let asking = Load { target: server.address, request, connections: options.connections, every: None }.begin()?;
    asking.pass(Duration::from_secs(1))?;
    let (mut ratios, mut alone, mut beside, mut told) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 1..=options.rounds {
        progress(&format!("round {round} of {}: nobody signs in", options.rounds));
        let quiet = asking.record(options.window, || Ok(()))?.0.per_second();
        progress(&format!("round {round} of {}: {WAITING} wait for a provider that hangs", options.rounds));
        let sign_ins = SignIns::begin(server.address)?;
        asking.pass(Duration::from_secs(1))?;
        let busy = asking.record(options.window, || Ok(()))?.0.per_second();
        told += sign_ins.end();
        asking.pass(OVER_AFTER)?;
        ratios.push(busy / quiet);
        alone.push(quiet);
        beside.push(busy);
    }
    let ratio = median(ratios);
    report.heading(format!("GET /auth/me while {WAITING} sign-ins wait for a provider that hangs"));
    report.figure("requests/s, nobody signs in", whole(median(alone)));
    report.figure("requests/s, beside those who wait", whole(median(beside)));
    report.judged("throughput beside/alone", format!("{ratio:.2}"), format!(">= {LEAST}"), ratio >= LEAST);
    report.figure("sign-ins that were told so, 503", whole(told as f64));
    Ok(())
}

/// A provider that takes every connection and answers none.
fn hang() -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        // For as long as the benchmark runs.
        let taken: Vec<_> = listener.incoming().collect();
        drop(taken);
    });
    Ok(address)
}

/// Clients that each sign in again as soon as they are told that the provider is away.
struct SignIns {
    is_over: Arc<AtomicBool>,
    told: Arc<AtomicU64>,
    thread: JoinHandle<Result<(), Failure>>,
}

impl SignIns {
    fn begin(target: SocketAddr) -> Result<Self, Failure> {
        let (is_over, told) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (over, count) = (Arc::clone(&is_over), Arc::clone(&told));
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let mut clients = JoinSet::new();
                for _ in 0..WAITING {
                    clients.spawn(sign_in(target, Arc::clone(&count)));
                }
                while !over.load(Ordering::Relaxed) {
                    tokio::select! {
                        // They end only where something went wrong.
                        Some(ended) = clients.join_next() => ended??,
                        () = tokio::time::sleep(Duration::from_millis(50)) => {}
                    }
                }
                Ok(())
            })
        });
        Ok(Self { is_over, told, thread })
    }

    /// How many were told so; who still waits is not.
    fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => progress(&format!("a sign-in failed: {failure}")),
            Err(_) => progress("a thread failed"),
        }
        self.told.load(Ordering::Relaxed)
    }
}

async fn sign_in(target: SocketAddr, told: Arc<AtomicU64>) -> Result<(), Failure> {
    let request = http::post("/auth/oauth/login", &json!({"provider": "google", "access_token": "ya29.waiting"}));
    let mut stream = TcpStream::connect(target).await?;
    let mut buffer = vec![0; 16 << 10];
    loop {
        stream.write_all(&request).await?;
        let read = stream.read(&mut buffer).await?;
        if !buffer[..read].starts_with(b"HTTP/1.1 503 ") {
            return Err(String::from_utf8_lossy(&buffer[..read]).into());
        }
        told.fetch_add(1, Ordering::Relaxed);
    }
}
