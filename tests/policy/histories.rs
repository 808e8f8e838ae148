//! Random histories of changes, one after another.

use portcullis::actors::{ServiceError, ServiceResult};
use portcullis::domain::{Authority, Grant, Permission, PolicyChange, RoleName, UserChange};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::check_all;
use crate::instance::{Pair, USERS};
use crate::support::Backend;
use crate::tables::{PERMISSIONS, ROLES};

const GRANTS: [&str; 12] = [
    "projects:read",
    "runs:read",
    "users:manage",
    "docs:read",
    "docs:write",
    "docs-2:read",
    "docs_:read",
    "docs:*",
    "docs_:*",
    "d:*",
    "users:*",
    "*",
];

/// Who changes what; `None` is the system.
type Step = (Option<usize>, Change);

/// One change, users by their places.
#[derive(Debug, Clone)]
enum Change {
    /// All of it in one transaction.
    Policy(Vec<PolicyChange>),
    Assign(usize, &'static str),
    Remove(usize, &'static str),
    Activate(usize, bool),
    Promote(usize, bool),
    Delete(usize),
    Create(usize, Vec<&'static str>),
    /// Not a change: the other instance has heard of all of them by now.
    Rest,
}

fn step() -> impl Strategy<Value = Step> {
    let (role, user) = (|| select(&ROLES[..]), || 0..USERS.len());
    let change = prop_oneof![
        18 => policy_change().prop_map(|change| Change::Policy(vec![change])),
        2 => vec(policy_change(), 2..4).prop_map(Change::Policy),
        6 => (user(), role()).prop_map(|(user, role)| Change::Assign(user, role)),
        3 => (user(), role()).prop_map(|(user, role)| Change::Remove(user, role)),
        3 => (user(), prop::bool::weighted(0.7)).prop_map(|(user, is)| Change::Activate(user, is)),
        2 => (user(), any::<bool>()).prop_map(|(user, is)| Change::Promote(user, is)),
        1 => user().prop_map(Change::Delete),
        2 => (user(), vec(role(), 0..3)).prop_map(|(user, roles)| Change::Create(user, roles)),
        1 => Just(Change::Rest),
    ];
    // Most of what a user wants is refused; the system makes it lively.
    (option::weighted(0.2, user()), change)
}

fn policy_change() -> impl Strategy<Value = PolicyChange> {
    let role = || select(&ROLES[..]).prop_map(|name| RoleName::parse(name).unwrap());
    let grant = || select(&GRANTS[..]).prop_map(|name| Grant::parse(name).unwrap());
    let permission = || select(&PERMISSIONS[..]).prop_map(|name| Permission::parse(name).unwrap());
    prop_oneof![
        3 => role().prop_map(|role| PolicyChange::CreateRole(role, String::new())),
        2 => role().prop_map(PolicyChange::DeleteRole),
        6 => (role(), grant()).prop_map(|(role, grant)| PolicyChange::Grant(role, grant)),
        3 => (role(), grant()).prop_map(|(role, grant)| PolicyChange::Revoke(role, grant)),
        5 => (role(), role()).prop_map(|(role, other)| PolicyChange::Include(role, other)),
        2 => (role(), role()).prop_map(|(role, other)| PolicyChange::Exclude(role, other)),
        3 => permission().prop_map(|name| PolicyChange::CreatePermission(name, String::new())),
        2 => permission().prop_map(PolicyChange::DeletePermission),
        1 => role().prop_map(|role| PolicyChange::DescribeRole(role, "Another".into())),
    ]
}

async fn make(pair: &mut Pair, by: Authority, change: Change) -> ServiceResult<()> {
    let (service, accounts) = (&pair.instances[0].service, &pair.instances[0].accounts);
    match change {
        Change::Policy(changes) => match changes.as_slice() {
            [PolicyChange::Grant(role, grant)] => {
                service.grant_permission(role.as_str(), grant.as_str(), by).await.map(drop)
            }
            [PolicyChange::Revoke(role, grant)] => {
                service.revoke_permission(role.as_str(), grant.as_str(), by).await.map(drop)
            }
            _ => service.change(changes, by).await.map(drop),
        },
        Change::Assign(user, role) => service.assign_role(pair.users[user], role, by).await.map(drop),
        Change::Remove(user, role) => service.remove_role(pair.users[user], role, by).await.map(drop),
        Change::Activate(user, is) => {
            let change = UserChange { is_active: Some(is), ..UserChange::default() };
            accounts.update(by, pair.users[user], change, None).await.map(drop)
        }
        Change::Promote(user, is) => {
            let change = UserChange { is_superuser: Some(is), ..UserChange::default() };
            accounts.update(by, pair.users[user], change, None).await.map(drop)
        }
        Change::Delete(user) => accounts.delete(by, pair.users[user]).await.map(drop),
        Change::Create(user, roles) => {
            pair.users[user] = pair.instances[0].make_user(USERS[user], &roles, false, by).await?;
            Ok(())
        }
        Change::Rest => Ok(()),
    }
}

async fn check(pair: &mut Pair, steps: &[Step]) -> Result<(), String> {
    for name in USERS {
        let is_root = name == "root";
        let made = pair.instances[0].make_user(name, &["viewer"], is_root, Authority::System).await;
        pair.users.push(made.map_err(|error| error.to_string())?);
    }
    // Something to begin with: else most of a history is about what is not there.
    let roles = ["one", "two", "three"].map(|name| PolicyChange::CreateRole(RoleName::parse(name).unwrap(), "".into()));
    let permissions = ["docs:read", "docs-2:read", "docs_:read"]
        .map(|name| PolicyChange::CreatePermission(Permission::parse(name).unwrap(), "".into()));
    let begin = Change::Policy(roles.into_iter().chain(permissions).collect());
    make(pair, Authority::System, begin).await.map_err(|error| error.to_string())?;
    let (mut done, mut refused) = (0, 0);
    for (number, (by, change)) in steps.iter().enumerate() {
        // What the other instance holds is what has to go.
        pair.instances[1].answers(&pair.users).await;
        let what = format!("step {number}, {by:?} {change:?}");
        match make(pair, pair.authority(*by), change.clone()).await {
            Err(ServiceError::Unavailable(error)) => return Err(format!("{what}: {error}")),
            Ok(()) => done += 1,
            // What a rule forbids, or does not fit: then nothing is another way.
            Err(_) => refused += 1,
        }
        pair.agrees(0).await.map_err(|error| format!("{what}: {error}"))?;
        let (superusers, admins) = pair.tables.administrators().await;
        if superusers == 0 || admins == 0 {
            return Err(format!("{what}: {superusers} superusers and {admins} administrators are left"));
        }
        if matches!(change, Change::Rest) {
            pair.agrees_soon(1).await.map_err(|error| format!("{what}, other instance: {error}"))?;
        }
    }
    // With --nocapture: whether the histories are lively.
    println!("{done} changes made, {refused} refused");
    pair.agrees_soon(1).await.map_err(|error| format!("other instance: {error}"))
}

fn histories(backend: Backend) {
    check_all(backend, 10, vec(step(), 1..80), async |pair, steps| check(pair, steps).await);
}

#[test]
fn the_cached_answer_is_the_answer_of_the_tables_on_sqlite() {
    histories(Backend::Sqlite);
}

#[test]
fn the_cached_answer_is_the_answer_of_the_tables_on_postgresql() {
    histories(Backend::Postgresql);
}
