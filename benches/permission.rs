//! What a decision costs: `Rbac::has_permission`, with three roles in the policy and with ten thousand.
//!
//! `cargo bench --bench permission`. The target is below 200 ns, and the same at both sizes. Timed by hand:
//! the median of many batches, each long enough for the clock.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::actors::{CacheSettings, Freshness, GrantSource, Lifecycle, Loading, Rbac};
use portcullis::domain::{Grant, Permission, PermissionInfo, Policy, Role, RoleName, Timestamp, User, UserId};
use portcullis::metrics::Metrics;

type Failure = Box<dyn std::error::Error>;

const SIZES: [usize; 2] = [3, 10_000];
const BATCHES: usize = 201;
/// Decisions in a batch.
const BATCH: u32 = 10_000;

const MOST_NS: f64 = 200.0;
/// Of which two figures count as the same: caches differ.
const SAME_TIMES: f64 = 1.5;

/// A policy of so many roles, and one user.
struct Source {
    roles: usize,
    user: User,
}

impl GrantSource for Source {
    fn load_user(&self, _: UserId) -> Loading<Option<User>> {
        let user = self.user.clone();
        Box::pin(async { Ok(Some(user)) })
    }

    fn load_policy(&self) -> Loading<Policy> {
        // Without roles the first decision is found wrong.
        let policy = policy(self.roles).unwrap_or_default();
        Box::pin(async { Ok(policy) })
    }
}

fn main() -> Result<(), Failure> {
    // As `cargo test --all-targets` runs it.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("a benchmark: cargo bench --bench permission");
        return Ok(());
    }
    let mut rows = Vec::new();
    for roles in SIZES {
        rows.push((roles, actix::System::new().block_on(measure(roles))?));
    }
    println!("has_permission, medians of {BATCHES} batches of {BATCH}");
    println!("{:>7} {:>16} {:>16} {:>22}", "roles", "granted", "refused", "user by id, granted");
    for (roles, [granted, refused, by_id]) in &rows {
        println!("{roles:>7} {granted:>13.1} ns {refused:>13.1} ns {by_id:>19.1} ns");
    }
    let worst = rows.iter().flat_map(|(_, figures)| figures).copied().fold(0.0, f64::max);
    let growth = rows[1].1.iter().zip(rows[0].1).map(|(many, few)| many / few).fold(0.0, f64::max);
    println!("the slowest: {worst:.1} ns   target < {MOST_NS} ns: {}", verdict(worst < MOST_NS));
    println!("10 000 roles / 3 roles: {growth:.2}   target about 1: {}", verdict(growth < SAME_TIMES));
    Ok(())
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}

/// A decision on a user that is at hand, granted and refused, and one that finds the user by id first.
async fn measure(roles: usize) -> Result<[f64; 3], Failure> {
    let user = user(roles)?;
    let (id, registry) = (user.id, prometheus::Registry::new());
    let bound = Duration::from_secs(3600);
    let rbac = Rbac::start(
        Arc::new(Source { roles, user }),
        CacheSettings { max_users: 1000, max_staleness: bound },
        Freshness::new(bound),
        Metrics::register(&registry)?,
        &actix::Arbiter::current(),
        // Never told to serve: the actor may end with the measuring.
        &Lifecycle::default(),
    )
    .await?;
    let user = rbac.find_user(id).await?.ok_or("no user")?;
    let (granted, refused) = (permission(roles - 1, 14)?, permission(roles, 0)?);
    if !rbac.has_permission(&user, &granted) || rbac.has_permission(&user, &refused) {
        return Err("a decision is wrong".into());
    }
    Ok([
        time(|| rbac.has_permission(black_box(&user), black_box(&granted))),
        time(|| rbac.has_permission(black_box(&user), black_box(&refused))),
        time(|| rbac.cached_user(black_box(id)).is_some_and(|user| rbac.has_permission(&user, black_box(&granted)))),
    ])
}

/// Nanoseconds a call.
fn time(mut decide: impl FnMut() -> bool) -> f64 {
    let mut batches: Vec<Duration> = (0..BATCHES)
        .map(|_| {
            let begun = Instant::now();
            for _ in 0..BATCH {
                black_box(decide());
            }
            begun.elapsed()
        })
        .collect();
    batches.sort_unstable();
    batches[BATCHES / 2].as_secs_f64() * 1e9 / f64::from(BATCH)
}

/// Fifteen permissions in each role, as many as every installation has.
fn policy(roles: usize) -> Result<Policy, Failure> {
    let mut all = Vec::new();
    let mut compiled = Vec::new();
    for role in 0..roles {
        let permissions: Vec<Permission> =
            (0..15).map(|number| permission(role, number)).collect::<Result<_, Failure>>()?;
        all.extend(permissions.iter().map(|name| PermissionInfo {
            name: name.clone(),
            description: String::new(),
            is_built_in: false,
        }));
        compiled.push(Role {
            name: role_name(role)?,
            description: String::new(),
            is_built_in: false,
            grants: permissions.into_iter().map(Grant::from).collect(),
            includes: Vec::new(),
        });
    }
    Ok(Policy::compile(compiled, all))
}

fn role_name(role: usize) -> Result<RoleName, Failure> {
    RoleName::parse(&format!("role-{role}")).map_err(|error| error.message.into())
}

fn permission(role: usize, number: usize) -> Result<Permission, Failure> {
    Permission::parse(&format!("resource-{role}:action-{number}")).map_err(|error| error.message.into())
}

/// Of three roles; what is asked for is in the last one.
fn user(roles: usize) -> Result<User, Failure> {
    Ok(User {
        id: UserId::generate(),
        username: "somebody".into(),
        email: None,
        email_verified: false,
        full_name: None,
        is_active: true,
        is_superuser: false,
        roles: (roles - 3..roles).map(role_name).collect::<Result<_, Failure>>()?,
        created_at: Timestamp::from_millis(0),
        updated_at: Timestamp::from_millis(0),
        last_login_at: None,
    })
}
