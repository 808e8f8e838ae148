//! The table of endpoints, and the description that is made of it.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis::api::{Needs, endpoints, openapi};
use portcullis::domain::{Timestamp, User, UserId};
use portcullis::store::{Database, Store, StoreSettings};
use serde_json::Value;

/// Every endpoint with what it needs and what the audit log calls it: a new
/// one without a guard, or one that needs less than before, shows here.
#[test]
fn endpoints_and_what_they_need() {
    let mut lines: Vec<String> = endpoints()
        .iter()
        .map(|endpoint| {
            let needs = match endpoint.needs {
                Needs::Nothing => "public".to_owned(),
                Needs::Account => "any user".to_owned(),
                Needs::Permission(permission) => permission.to_owned(),
                Needs::Role(role) => format!("role {role}"),
            };
            let action = endpoint.name.action.unwrap_or("(not recorded)");
            format!("{:<52} {:<7} {:<14} {}", endpoint.path, endpoint.method_name(), needs, action)
        })
        .collect();
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"));
}

/// What each default role may: every permission, and every endpoint. The policy is the one that the
/// migrations make.
#[tokio::test]
async fn what_each_role_may() {
    let home = tempfile::tempdir().unwrap();
    let database = Database::Sqlite(home.path().join("portcullis.db"));
    let settings = StoreSettings { database, timeout: Duration::from_secs(5), pool_size: 1 };
    let policy = Store::open(settings).await.unwrap().load_policy().await.unwrap().compile();
    let holders = ["(no role)", "viewer", "analyst", "admin"].map(|role| (role, holder(role)));
    let row = |name: String, may: &dyn Fn(&User) -> bool| {
        let cells = holders.iter().map(|(_, user)| if may(user) { "   yes   " } else { "    -    " });
        format!("{name:<60}{}", cells.collect::<String>())
    };
    let mut lines =
        vec![format!("{:<60}{}", "", holders.iter().map(|(role, _)| format!("{role:^9}")).collect::<String>())];
    for info in policy.permissions() {
        lines.push(row(info.name.to_string(), &|user| policy.has_permission(user, &info.name)));
    }
    for endpoint in endpoints() {
        let may = |user: &User| match endpoint.needs {
            Needs::Nothing | Needs::Account => true,
            Needs::Permission(name) => policy.has_permission(user, &name.parse().unwrap()),
            Needs::Role(name) => policy.has_role(user, &name.parse().unwrap()),
        };
        lines.push(row(format!("{:<7} {}", endpoint.method_name(), endpoint.path), &may));
    }
    insta::assert_snapshot!(lines.join("\n"));
}

fn holder(role: &str) -> User {
    User {
        id: UserId::generate(),
        username: "somebody".into(),
        email: None,
        email_verified: false,
        full_name: None,
        is_active: true,
        is_superuser: false,
        roles: role.parse().into_iter().collect(),
        created_at: Timestamp::from_millis(0),
        updated_at: Timestamp::from_millis(0),
        last_login_at: None,
    }
}

fn description() -> Value {
    serde_json::to_value(openapi(&endpoints())).unwrap()
}

#[test]
fn every_endpoint_is_described_and_nothing_else() {
    // Static files, and the gateway's catch-all, which is told under /auth/verify.
    let is_described = |path: &str| !path.starts_with("/docs/") && path != "/auth/verify/{path:.*}";
    let mounted: BTreeSet<(String, String)> = endpoints()
        .iter()
        .filter(|endpoint| is_described(endpoint.path))
        .map(|endpoint| {
            let method = endpoint.method_name().to_lowercase();
            (endpoint.path.to_owned(), if method == "*" { "get".to_owned() } else { method })
        })
        .collect();
    let described: BTreeSet<(String, String)> = description()["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(|method| (path.clone(), method.clone())))
        .collect();
    assert_eq!(mounted, described);
}

#[test]
fn every_described_error_is_a_problem_and_every_guarded_endpoint_says_so() {
    let description = description();
    for endpoint in endpoints() {
        let method = endpoint.method_name().to_lowercase();
        let operation = &description["paths"][endpoint.path][if method == "*" { "get" } else { &method }];
        let Some(responses) = operation["responses"].as_object() else { continue };
        let is_guarded = endpoint.needs != Needs::Nothing;
        assert_eq!(responses.contains_key("401") && is_guarded, is_guarded, "{} {}", method, endpoint.path);
        assert_eq!(operation["security"].as_array().is_some_and(|schemes| !schemes.is_empty()), is_guarded);
        if matches!(endpoint.needs, Needs::Permission(_) | Needs::Role(_)) {
            assert!(responses.contains_key("403"), "{} {}", method, endpoint.path);
        }
        for (status, response) in responses {
            if status.as_str() >= "400" && endpoint.path != "/" {
                let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Problem", "{} {} {status}", method, endpoint.path);
            }
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    found.insert(reference.clone());
                }
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(array) => array.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let description = description();
    let mut found = BTreeSet::new();
    references(&description, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(pointer).is_some(), "{reference}");
    }
}

/// A second reader's opinion.
#[test]
fn the_description_is_valid_openapi_3_1() {
    // The schema of 3.1 has a URI reference here; this reader wants it absolute.
    let text = serde_json::to_string(&description()).unwrap();
    let text = text.replace("\"tokenUrl\":\"/auth/login\"", "\"tokenUrl\":\"http://127.0.0.1/auth/login\"");
    let spec = oas3::from_json(&text).unwrap();
    assert!(spec.openapi.starts_with("3.1"));
    assert_eq!(spec.paths.as_ref().map_or(0, |paths| paths.len()), description()["paths"].as_object().unwrap().len());
}
