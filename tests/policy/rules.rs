//! Changes of roles that would take the installation over, or away from those who hold less.

use portcullis::actors::{ServiceError, ServiceResult};
use portcullis::domain::{Authority, Conflict, Denial, Grant, Permission, PolicyChange, RoleName};

use crate::instance::Pair;
use crate::support::Backend;

fn role(name: &str) -> RoleName {
    RoleName::parse(name).unwrap()
}

fn create(name: &str) -> PolicyChange {
    PolicyChange::CreateRole(role(name), String::new())
}

fn grant(name: &str, grant: &str) -> PolicyChange {
    PolicyChange::Grant(role(name), Grant::parse(grant).unwrap())
}

fn include(name: &str, other: &str) -> PolicyChange {
    PolicyChange::Include(role(name), role(other))
}

/// Runs a check on a fresh database of each kind; passes where there is no PostgreSQL, and has said so.
fn on_both(check: impl AsyncFn(&mut Pair)) {
    for backend in [Backend::Sqlite, Backend::Postgresql] {
        actix::System::new().block_on(async {
            let Some(mut pair) = Pair::start(backend).await else { return };
            check(&mut pair).await;
            pair.end().await;
        });
    }
}

async fn change(pair: &Pair, by: Authority, steps: &[PolicyChange]) -> ServiceResult<()> {
    pair.instances[0].service.change(steps.to_vec(), by).await.map(drop)
}

async fn make(pair: &mut Pair, name: &str, roles: &[&str], is_superuser: bool) -> Authority {
    let made = pair.instances[0].make_user(name, roles, is_superuser, Authority::System).await;
    pair.users.push(made.unwrap());
    Authority::User(pair.users[pair.users.len() - 1])
}

#[test]
fn no_change_makes_administrators_of_those_who_register() {
    on_both(async |pair| {
        let root = make(pair, "root", &["admin"], true).await;
        change(pair, root.clone(), &[create("one"), grant("one", "users:manage")]).await.unwrap();
        let anna = make(pair, "anna", &["one", "viewer"], false).await;
        let direct = vec![grant("viewer", "users:manage")];
        let included = vec![include("viewer", "one")];
        let on_a_way = vec![create("two"), include("two", "one"), include("viewer", "two")];
        for (by, steps) in [
            (anna.clone(), direct.clone()),
            (anna, included.clone()),
            (root.clone(), direct.clone()),
            (root.clone(), on_a_way.clone()),
            (Authority::System, direct),
            (Authority::System, included),
            (Authority::System, on_a_way),
        ] {
            let refused = change(pair, by.clone(), &steps).await;
            let Err(ServiceError::Conflict(conflict)) = refused else { panic!("{by:?} {steps:?}: {refused:?}") };
            assert!(matches!(&conflict, Conflict::DefaultRole { role, .. } if role.as_str() == "viewer"));
            assert!(conflict.to_string().contains("viewer is DEFAULT_ROLE"), "{conflict}");
            pair.agrees(0).await.unwrap();
        }
        for wildcard in ["users:*", "*"] {
            let refused = change(pair, root.clone(), &[grant("viewer", wildcard)]).await;
            assert!(matches!(refused, Err(ServiceError::Conflict(Conflict::DefaultRole { .. }))), "{refused:?}");
        }
        // Through it and out again is no harm, nor is anything else about that role.
        let back = PolicyChange::Exclude(role("viewer"), role("one"));
        change(pair, root.clone(), &[include("viewer", "one"), back]).await.unwrap();
        change(pair, root, &[grant("viewer", "runs:*"), grant("viewer", "users:read")]).await.unwrap();
        pair.agrees(0).await.unwrap();
    });
}

#[test]
fn a_permission_that_others_have_by_a_wildcard_is_deleted_by_who_has_it() {
    on_both(async |pair| {
        let root = make(pair, "root", &["admin"], true).await;
        let read = Permission::parse("docs:read").unwrap();
        let make_permission = PolicyChange::CreatePermission(read.clone(), String::new());
        let delete = PolicyChange::DeletePermission(read);
        let steps = [
            make_permission.clone(),
            create("one"),
            grant("one", "users:manage"),
            create("two"),
            grant("two", "docs:*"),
            create("three"),
            include("three", "two"),
        ];
        change(pair, root.clone(), &steps).await.unwrap();
        let anna = make(pair, "anna", &["one"], false).await;
        // Nobody has it but by the rule of `admin`.
        change(pair, anna.clone(), std::slice::from_ref(&delete)).await.unwrap();
        change(pair, root.clone(), std::slice::from_ref(&make_permission)).await.unwrap();
        make(pair, "bert", &["three"], false).await;
        let refused = change(pair, anna.clone(), std::slice::from_ref(&delete)).await;
        assert!(matches!(refused, Err(ServiceError::Denied(Denial::Escalation(_)))), "{refused:?}");
        pair.agrees(0).await.unwrap();
        pair.instances[0].service.assign_role(pair.users[1], "two", root).await.unwrap();
        change(pair, anna, std::slice::from_ref(&delete)).await.unwrap();
        pair.agrees(0).await.unwrap();
    });
}
