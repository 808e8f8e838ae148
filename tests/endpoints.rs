//! The table of endpoints, and the description that is made of it.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::collections::BTreeSet;

use portcullis::api::{Needs, endpoints, openapi};
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
            };
            let action = endpoint.name.action.unwrap_or("(not recorded)");
            format!("{:<36} {:<7} {:<14} {}", endpoint.path, endpoint.method_name(), needs, action)
        })
        .collect();
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"));
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
        if matches!(endpoint.needs, Needs::Permission(_)) {
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
