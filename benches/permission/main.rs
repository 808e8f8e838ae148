//! What a decision costs: `Rbac::has_permission` at many sizes, and the same question asked of casbin.
//!
//! `cargo run --release --package permission-bench`. The target is below 200 ns, and the same at every
//! size. Timed by hand: the median of many batches, each long enough for the clock.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use casbin::{CachedEnforcer, CoreApi, DefaultModel, Enforcer, MemoryAdapter, MgmtApi, RbacApi};
use portcullis::actors::{CacheSettings, Freshness, GrantSource, Lifecycle, Loading, Rbac};
use portcullis::domain::{Grant, Permission, PermissionInfo, Policy, Role, RoleName, Timestamp, User, UserId};
use portcullis::metrics::Metrics;

type Failure = Box<dyn std::error::Error>;

/// How many roles there are, and how many users are held.
const SIZES: [(usize, usize); 6] =
    [(3, 1), (10, 1), (100, 1_000), (10_000, 1_000), (10, 1_000_000), (10_000, 1_000_000)];
/// As many permissions as every installation has.
const PERMISSIONS_OF_A_ROLE: usize = 15;
/// Of each user.
const ROLES_OF_A_USER: usize = 3;
const BATCHES: usize = 101;
const BATCH: u32 = 10_000;

const MOST_NS: f64 = 200.0;
/// Of which two figures count as the same: caches differ.
const SAME_TIMES: f64 = 1.5;

/// The model that casbin's own documentation has for roles.
const MODEL: &str = "
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
";

/// A policy of so many roles; users as they are asked for.
struct Source {
    roles: usize,
}

impl GrantSource for Source {
    fn load_user(&self, id: UserId) -> Loading<Option<User>> {
        let user = user(id, self.roles).ok();
        Box::pin(async { Ok(user) })
    }

    fn load_policy(&self) -> Loading<Policy> {
        // Without roles the first decision is found wrong.
        let policy = policy(self.roles).unwrap_or_default();
        Box::pin(async { Ok(policy) })
    }
}

/// What was measured at one size; times in nanoseconds a decision.
struct Row {
    roles: usize,
    users: usize,
    granted: f64,
    refused: f64,
    /// The user is looked up first: always the same one.
    same_user: f64,
    /// Another one each time, in no order.
    any_user: f64,
    casbin: Option<f64>,
    casbin_cached: Option<f64>,
    /// What the process grew by for each user that is held.
    bytes_a_user: Option<f64>,
}

fn main() -> Result<(), Failure> {
    let mut rows = Vec::new();
    for (roles, users) in SIZES {
        eprintln!("measuring {roles} roles, {users} users ...");
        rows.push(actix::System::new().block_on(measure(roles, users))?);
    }
    println!(
        "A decision in nanoseconds: medians of {BATCHES} batches of {BATCH} (casbin: of as many as fit into a second)"
    );
    println!(
        "{:>7} {:>9} | {:>8} {:>8} {:>10} {:>9} | {:>12} {:>14} | {:>12}",
        "roles", "users", "granted", "refused", "same user", "any user", "casbin", "casbin cached", "bytes a user"
    );
    for row in &rows {
        let or_dash = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0}"));
        println!(
            "{:>7} {:>9} | {:>8.1} {:>8.1} {:>10.1} {:>9.1} | {:>12} {:>14} | {:>12}",
            row.roles,
            row.users,
            row.granted,
            row.refused,
            row.same_user,
            row.any_user,
            or_dash(row.casbin),
            or_dash(row.casbin_cached),
            or_dash(row.bytes_a_user)
        );
    }
    let decisions = rows.iter().flat_map(|row| [row.granted, row.refused]);
    let (least, most) = decisions.clone().fold((f64::MAX, 0f64), |(least, most), it| (least.min(it), most.max(it)));
    println!("has_permission, the slowest: {most:.1} ns   target < {MOST_NS} ns: {}", verdict(most < MOST_NS));
    let growth = |of: fn(&Row) -> f64| {
        let (least, most) =
            rows.iter().map(of).fold((f64::MAX, 0f64), |(least, most), it| (least.min(it), most.max(it)));
        most / least
    };
    let growth = growth(|row| row.granted).max(growth(|row| row.refused));
    println!("the slowest size / the fastest: {growth:.2}   target < {SAME_TIMES}: {}", verdict(growth < SAME_TIMES));
    println!("the fastest decision: {least:.1} ns; casbin has a user only by name, and looks through all policies");
    Ok(())
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}

async fn measure(roles: usize, users: usize) -> Result<Row, Failure> {
    let bound = Duration::from_secs(3600);
    let rbac = Rbac::start(
        Arc::new(Source { roles }),
        // The cache is bounded by shards: some room keeps each from being full before all are.
        CacheSettings { max_users: users * 2, max_staleness: bound },
        Freshness::new(bound),
        Metrics::register(&prometheus::Registry::new())?,
        &actix::Arbiter::current(),
        // Never told to serve: the actor may end with the measuring.
        &Lifecycle::default(),
    )
    .await?;
    let mut ids: Vec<UserId> = (0..users).map(|_| UserId::generate()).collect();
    let before = resident_bytes();
    for id in &ids {
        rbac.find_user(*id).await?.ok_or("no user")?;
    }
    let grown = resident_bytes().saturating_sub(before);
    shuffle(&mut ids);
    ids.retain(|id| rbac.cached_user(*id).is_some());
    if ids.len() < users.div_ceil(2) {
        return Err(format!("only {} of {users} users are held", ids.len()).into());
    }
    let user = rbac.cached_user(ids[0]).ok_or("no user")?;
    let (granted, refused) = (permission(roles - 1, PERMISSIONS_OF_A_ROLE - 1)?, permission(roles, 0)?);
    if !rbac.has_permission(&user, &granted) || rbac.has_permission(&user, &refused) {
        return Err("a decision is wrong".into());
    }
    let mut next = 0;
    let by_id = |id: UserId| rbac.cached_user(id).is_some_and(|user| rbac.has_permission(&user, black_box(&granted)));
    // Beyond some thousands of roles one decision of casbin takes a tenth of a second; a million users do not fit.
    let (casbin, casbin_cached) = match users {
        1..=1_000 => (Some(ask_casbin(roles, users).await?), Some(ask_cached_casbin(roles, users).await?)),
        _ => (None, None),
    };
    Ok(Row {
        roles,
        users,
        granted: time(|| rbac.has_permission(black_box(&user), black_box(&granted))),
        refused: time(|| rbac.has_permission(black_box(&user), black_box(&refused))),
        same_user: time(|| by_id(black_box(ids[0]))),
        any_user: time(|| {
            next = (next + 1) % ids.len();
            by_id(ids[next])
        }),
        casbin,
        casbin_cached,
        // The first million: the next one finds the memory of this one.
        bytes_a_user: ((roles, users) == (10, 1_000_000)).then(|| grown as f64 / users as f64),
    })
}

/// Nanoseconds a call.
fn time(mut decide: impl FnMut() -> bool) -> f64 {
    let batches = (0..BATCHES).map(|_| {
        let begun = Instant::now();
        for _ in 0..BATCH {
            black_box(decide());
        }
        begun.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH)
    });
    median(batches.collect())
}

/// Nanoseconds a call, of calls that may take long: the median of those of one second, three at least.
fn time_slow(mut decide: impl FnMut() -> Result<bool, Failure>) -> Result<f64, Failure> {
    let begun = Instant::now();
    let mut calls = Vec::new();
    while calls.len() < 3 || (begun.elapsed() < Duration::from_secs(1) && calls.len() < 100_000) {
        let asked = Instant::now();
        if !black_box(decide()?) {
            return Err("a decision of casbin is wrong".into());
        }
        calls.push(asked.elapsed().as_secs_f64() * 1e9);
    }
    Ok(median(calls))
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

async fn ask_casbin(roles: usize, users: usize) -> Result<f64, Failure> {
    let mut enforcer = Enforcer::new(DefaultModel::from_str(MODEL).await?, MemoryAdapter::default()).await?;
    fill(&mut enforcer, roles, users).await?;
    let (resource, action) = names(roles - 1, PERMISSIONS_OF_A_ROLE - 1);
    time_slow(|| Ok(enforcer.enforce(("user-0", &*resource, &*action))?))
}

async fn ask_cached_casbin(roles: usize, users: usize) -> Result<f64, Failure> {
    let mut enforcer = CachedEnforcer::new(DefaultModel::from_str(MODEL).await?, MemoryAdapter::default()).await?;
    fill(&mut enforcer, roles, users).await?;
    let (resource, action) = names(roles - 1, PERMISSIONS_OF_A_ROLE - 1);
    time_slow(|| Ok(enforcer.enforce(("user-0", &*resource, &*action))?))
}

/// The same policy: the same roles with the same permissions, and as many users.
async fn fill(enforcer: &mut (impl MgmtApi + RbacApi), roles: usize, users: usize) -> Result<(), Failure> {
    let mut rules = Vec::with_capacity(roles * PERMISSIONS_OF_A_ROLE);
    for role in 0..roles {
        for number in 0..PERMISSIONS_OF_A_ROLE {
            let (resource, action) = names(role, number);
            rules.push(vec![format!("role-{role}"), resource, action]);
        }
    }
    enforcer.add_policies(rules).await?;
    let assigned = (0..users).flat_map(|user| {
        (roles - ROLES_OF_A_USER..roles).map(move |role| vec![format!("user-{user}"), format!("role-{role}")])
    });
    enforcer.add_grouping_policies(assigned.collect()).await?;
    Ok(())
}

fn policy(roles: usize) -> Result<Policy, Failure> {
    let mut all = Vec::new();
    let mut compiled = Vec::new();
    for role in 0..roles {
        let permissions: Vec<Permission> =
            (0..PERMISSIONS_OF_A_ROLE).map(|number| permission(role, number)).collect::<Result<_, Failure>>()?;
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

fn names(role: usize, number: usize) -> (String, String) {
    (format!("resource-{role}"), format!("action-{number}"))
}

fn role_name(role: usize) -> Result<RoleName, Failure> {
    Ok(RoleName::parse(&format!("role-{role}"))?)
}

fn permission(role: usize, number: usize) -> Result<Permission, Failure> {
    let (resource, action) = names(role, number);
    Ok(Permission::parse(&format!("{resource}:{action}"))?)
}

/// What is asked for is in the last role.
fn user(id: UserId, roles: usize) -> Result<User, Failure> {
    Ok(User {
        id,
        username: format!("user-{id}").into(),
        email: Some(format!("{id}@example.com").into()),
        email_verified: true,
        full_name: None,
        is_active: true,
        is_superuser: false,
        roles: (roles - ROLES_OF_A_USER..roles).map(role_name).collect::<Result<_, Failure>>()?,
        created_at: Timestamp::from_millis(0),
        updated_at: Timestamp::from_millis(0),
        last_login_at: None,
    })
}

/// In no order, the same in every run (a linear congruential generator, Knuth's MMIX constants).
fn shuffle<T>(items: &mut [T]) {
    let mut state: u64 = 1;
    for last in (1..items.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(last, (state >> 33) as usize % (last + 1));
    }
}

/// What the process holds in memory, by `/proc/self/statm`.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split_whitespace().nth(1)?.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}
