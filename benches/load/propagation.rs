//! How long a change of one instance takes to hold on another, which is under load meanwhile.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Load;
use crate::cluster::Cluster;
use crate::options::Options;
use crate::report::{Report, whole};
use crate::service::Server;
use crate::{Failure, http, progress};

const CHANGES: usize = 200;
const ASKING: usize = 10;
/// Of each of them: together a thousand requests a second.
const PACE: Duration = Duration::from_millis(10);
/// Between two questions whether the change holds.
const LOOK_EVERY: Duration = Duration::from_millis(1);

const MOST: Duration = Duration::from_secs(1);

/// Makes the changes and reports how long they took.
///
/// # Errors
/// A server fails, or a change never holds.
pub(crate) fn measure(_: &Options, report: &mut Report) -> Result<(), Failure> {
    let Some(cluster) = Cluster::start(&[])? else {
        report.heading("From one instance to another: not measured, there is no PostgreSQL");
        return Ok(());
    };
    let homes = [tempfile::tempdir()?, tempfile::tempdir()?];
    let one = Server::ours(homes[0].path(), Some(&cluster.url("postgres")), 10)?;
    let other = Server::ours(homes[1].path(), Some(&cluster.url("postgres")), 10)?;
    let root = one.token()?;
    let registration = json!({"username": "johndoe", "email": "john@example.com", "password": "securepassword123"});
    let (_, user) = http::fetch(one.address, &http::post("/auth/register", &registration))?;
    let id = serde_json::from_str::<Value>(&user)?["id"].as_str().ok_or("no user")?.to_owned();
    let john = token(one.address, &http::post("/auth/login", &registration))?;

    let load = Load { target: other.address, request: other.me_request()?, connections: ASKING, every: Some(PACE) };
    let load = load.begin()?;
    load.pass(Duration::from_secs(1))?;
    progress(&format!("{CHANGES} changes of a role, seen from another instance"));
    let (begun, answered) = (Instant::now(), load.answered());
    let mut times = Vec::with_capacity(CHANGES);
    for number in 0..CHANGES {
        let (method, holds) = if number % 2 == 0 { ("PUT", true) } else { ("DELETE", false) };
        let path = format!("/admin/users/{id}/roles/analyst");
        let (status, body) = http::fetch(one.address, &http::change(method, &path, &root))?;
        let changed = Instant::now();
        if status != 204 {
            return Err(format!("{method} {path}: {status}: {body}").into());
        }
        while may_create(other.address, &john)? != holds {
            if changed.elapsed() > Duration::from_secs(10) {
                return Err("a change never holds on the other instance".into());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        times.push(changed.elapsed());
    }
    let rate = (load.answered() - answered) as f64 / begun.elapsed().as_secs_f64();
    drop(load);
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    let ms = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1000.0);
    report.heading(format!("From one instance to another on one PostgreSQL: {CHANGES} role changes"));
    report.figure("requests a second on the other one", whole(rate));
    report.figure("until the change holds there, p50", ms(at(0.5)));
    report.judged("until the change holds there, p99", ms(at(0.99)), "<= 1000 ms", at(0.99) <= MOST);
    report.figure("until the change holds there, at most", ms(at(1.0)));
    Ok(())
}

fn token(address: SocketAddr, login: &[u8]) -> Result<String, Failure> {
    let (status, body) = http::fetch(address, login)?;
    let answer: Value = serde_json::from_str(&body)?;
    Ok(answer["access_token"].as_str().ok_or_else(|| format!("login: {status}: {body}"))?.to_owned())
}

fn may_create(address: SocketAddr, token: &str) -> Result<bool, Failure> {
    let request = http::get("/auth/verify?permission=projects:create", Some(token));
    match http::fetch(address, &request)? {
        (200, _) => Ok(true),
        (403, _) => Ok(false),
        (status, body) => Err(format!("GET /auth/verify: {status}: {body}").into()),
    }
}
