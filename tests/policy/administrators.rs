//! Administrators taken away at once, in all ways, by whom it may be and on two instances: one remains.

use futures_util::future::join_all;
use portcullis::actors::{ServiceError, ServiceResult};
use portcullis::domain::{Authority, PolicyChange, RoleName, UserChange};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::check_all;
use crate::instance::{Instance, Pair, USERS};
use crate::support::Backend;

/// The role of each, by places: the first two are `admin`, the others by a role that includes it.
const ROLES: [&str; 4] = ["admin", "admin", "chief", "chief"];

/// A way to take an administrator away, users by their places.
#[derive(Debug, Clone)]
enum Away {
    Demote(usize),
    Deactivate(usize),
    Delete(usize),
    RemoveRole(usize),
    DeleteRole,
    Exclude,
}

/// What is asked for at once: who asks (`None` is the system), whether on the second instance, and for what.
type Round = Vec<(Option<usize>, bool, Away)>;

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let user = || 0..USERS.len();
    let away = prop_oneof![
        3 => user().prop_map(Away::Demote),
        3 => user().prop_map(Away::Deactivate),
        2 => user().prop_map(Away::Delete),
        3 => user().prop_map(Away::RemoveRole),
        1 => Just(Away::DeleteRole),
        1 => Just(Away::Exclude),
    ];
    vec(vec((option::of(user()), any::<bool>(), away), 2..12), 1..6)
}

fn chief() -> RoleName {
    RoleName::parse("chief").unwrap()
}

fn active(is: bool) -> UserChange {
    UserChange { is_active: Some(is), ..UserChange::default() }
}

fn superuser(is: bool) -> UserChange {
    UserChange { is_superuser: Some(is), ..UserChange::default() }
}

async fn take(pair: &Pair, on: &Instance, by: Authority, away: &Away) -> ServiceResult<()> {
    match *away {
        Away::Demote(user) => on.accounts.update(by, pair.users[user], superuser(false), None).await.map(drop),
        Away::Deactivate(user) => on.accounts.update(by, pair.users[user], active(false), None).await.map(drop),
        Away::Delete(user) => on.accounts.delete(by, pair.users[user]).await.map(drop),
        Away::RemoveRole(user) => on.service.remove_role(pair.users[user], ROLES[user], by).await.map(drop),
        Away::DeleteRole => on.service.change_one(PolicyChange::DeleteRole(chief()), by).await.map(drop),
        Away::Exclude => on.service.change_one(PolicyChange::Exclude(chief(), RoleName::admin()), by).await.map(drop),
    }
}

/// All four are administrators again.
async fn restore(pair: &mut Pair, are_superusers: bool) -> ServiceResult<()> {
    let (one, system) = (&pair.instances[0], || Authority::System);
    if one.service.role(&chief()).is_none() {
        one.service.change_one(PolicyChange::CreateRole(chief(), String::new()), system()).await?;
    }
    one.service.change_one(PolicyChange::Include(chief(), RoleName::admin()), system()).await?;
    for (place, (name, role)) in USERS.iter().zip(ROLES).enumerate() {
        let is_there = match pair.users.get(place) {
            Some(id) => one.accounts.find(*id).await?.is_some(),
            None => false,
        };
        if !is_there {
            let id = one.make_user(name, &[role], are_superusers, system()).await?;
            match pair.users.get_mut(place) {
                Some(present) => *present = id,
                None => pair.users.push(id),
            }
        }
        one.service.assign_role(pair.users[place], role, system()).await?;
        one.accounts.update(system(), pair.users[place], active(true), None).await?;
        if are_superusers {
            one.accounts.update(system(), pair.users[place], superuser(true), None).await?;
        }
    }
    Ok(())
}

async fn check(pair: &mut Pair, are_superusers: bool, rounds: &[Round]) -> Result<(), String> {
    for (number, round) in rounds.iter().enumerate() {
        restore(pair, are_superusers).await.map_err(|error| format!("round {number}: {error}"))?;
        // What they hold has to go.
        for instance in &pair.instances {
            instance.answers(&pair.users).await;
        }
        let asked = round.iter().map(|(by, is_other, away)| {
            let on = &pair.instances[usize::from(*is_other)];
            take(pair, on, pair.authority(*by), away)
        });
        for outcome in join_all(asked).await {
            if let Err(ServiceError::Unavailable(error)) = outcome {
                return Err(format!("round {number}: {error}"));
            }
        }
        let (superusers, admins) = pair.tables.administrators().await;
        if admins == 0 || (are_superusers && superusers == 0) {
            return Err(format!("round {number}: {superusers} superusers and {admins} administrators are left"));
        }
        for at in [0, 1] {
            pair.agrees_soon(at).await.map_err(|error| format!("round {number}: {error}"))?;
        }
    }
    Ok(())
}

fn one_remains(backend: Backend) {
    check_all(backend, 8, (any::<bool>(), rounds()), async |pair, (are_superusers, rounds)| {
        check(pair, *are_superusers, rounds).await
    });
}

#[test]
fn an_administrator_remains_however_many_are_taken_at_once_on_sqlite() {
    one_remains(Backend::Sqlite);
}

#[test]
fn an_administrator_remains_however_many_are_taken_at_once_on_postgresql() {
    one_remains(Backend::Postgresql);
}
