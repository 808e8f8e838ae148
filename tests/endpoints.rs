//! The table of endpoints, and the description that is made of it.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis::api::{Endpoint, Needs, endpoints, openapi};
use portcullis::domain::{Timestamp, User, UserId};
use portcullis::store::{Database, Store, StoreSettings};
use serde_json::{Value, json};

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
    let default_role = "viewer".parse().unwrap();
    let settings = StoreSettings { database, timeout: Duration::from_secs(5), pool_size: 1, default_role };
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
    serde_json::to_value(openapi(&endpoints(), None)).unwrap()
}

/// Where an endpoint is described: any method as `get`, and of `{path:.*}` the name.
fn place(endpoint: &Endpoint) -> (String, String) {
    let method = endpoint.method_name().to_lowercase().replace('*', "get");
    (endpoint.path.replace(":.*", ""), method)
}

/// Every operation with its place, `get /auth/me`.
fn operations(description: &Value) -> Vec<(String, &Value)> {
    let paths = description["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, operation)| (format!("{method} {path}"), operation))
    });
    operations.collect()
}

#[test]
fn every_endpoint_is_described_and_nothing_else() {
    let mounted: BTreeSet<(String, String)> = endpoints()
        .iter()
        // But for static files.
        .filter(|endpoint| !endpoint.path.starts_with("/docs/"))
        .map(place)
        .collect();
    let described: BTreeSet<(String, String)> = description()["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(|method| (path.clone(), method.clone())))
        .collect();
    assert_eq!(mounted, described);
}

/// Generated clients make functions of them.
#[test]
fn every_operation_has_an_id_of_its_own() {
    let description = description();
    let mut ids = BTreeSet::new();
    for (place, operation) in operations(&description) {
        let id = operation["operationId"].as_str().unwrap_or_default();
        assert!(!id.is_empty() && id.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{place}: {id}");
        assert!(ids.insert(id), "{place}: another one is {id}; src/api/docs.rs names them");
    }
    for id in ["login", "list_users", "create_role", "assign_role", "list_user_sessions", "get_openapi_json"] {
        assert!(ids.contains(id), "{id}");
    }
}

#[test]
fn the_bounds_of_a_query_are_described() {
    let description = description();
    let mut found = BTreeSet::new();
    for (place, operation) in operations(&description) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
            let bounds = ["type", "format", "minimum", "maximum", "default"].map(|key| schema[key].clone());
            let max_offset = if place == "get /audit/logs" { json!(10_000) } else { Value::Null };
            let expected = match name {
                "limit" => json!(["integer", "int32", 1, 1000, 100]),
                "offset" => json!(["integer", "int64", 0, max_offset, 0]),
                "since" | "until" => json!(["string", "date-time", null, null, null]),
                _ => continue,
            };
            assert_eq!(Value::from(bounds.to_vec()), expected, "{place} {name}");
            found.insert(format!("{name} {place}"));
        }
    }
    for place in ["/audit/logs", "/admin/users", "/admin/roles", "/admin/permissions", "/auth/sessions"] {
        assert!(
            found.contains(&format!("limit get {place}")) && found.contains(&format!("offset get {place}")),
            "{place}"
        );
    }
}

#[test]
fn every_described_error_is_a_problem_and_every_guarded_endpoint_says_so() {
    let description = description();
    for endpoint in endpoints() {
        let (path, method) = place(&endpoint);
        let operation = &description["paths"][&path][&method];
        let Some(responses) = operation["responses"].as_object() else { continue };
        let is_guarded = endpoint.needs != Needs::Nothing;
        assert_eq!(responses.contains_key("401") && is_guarded, is_guarded, "{method} {path}");
        assert_eq!(operation["security"].as_array().is_some_and(|schemes| !schemes.is_empty()), is_guarded);
        if matches!(endpoint.needs, Needs::Permission(_) | Needs::Role(_)) {
            assert!(responses.contains_key("403"), "{method} {path}");
        }
        for (status, response) in responses {
            if status.as_str() >= "400" && path != "/" {
                let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
            }
        }
    }
}

/// The example of each code that a description names is that error's own body.
#[test]
fn every_error_has_an_example_for_each_of_its_codes() {
    let description = description();
    for (place, operation) in operations(&description) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let Some(problem) = response["content"].get("application/problem+json") else { continue };
            let text = response["description"].as_str().unwrap();
            // `Retry-After` is none.
            let is_code = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            let named: BTreeSet<&str> = text.split('`').skip(1).step_by(2).filter(is_code).collect();
            let examples = problem["examples"].as_object().unwrap();
            let shown: BTreeSet<&str> = examples.keys().map(String::as_str).collect();
            assert!(!named.is_empty(), "{place} {status}: no code in: {text}");
            assert_eq!(named, shown, "{place} {status}: `errors` in src/api/docs.rs has the examples");
            for (code, example) in examples {
                let body = &description.pointer(&example["$ref"].as_str().unwrap()[1..]).unwrap()["value"];
                assert_eq!((&body["code"], body["status"].to_string()), (&json!(code), status.clone()), "{place}");
                for field in ["type", "title", "detail", "request_id"] {
                    assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{place} {field}: {body}");
                }
            }
        }
    }
}

#[test]
fn every_response_says_its_headers() {
    let description = description();
    for (place, operation) in operations(&description) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let has = |name: &str| response["headers"].get(name).is_some();
            assert!(has("X-Request-Id"), "{place} {status}");
            assert_eq!(has("WWW-Authenticate"), status == "401", "{place} {status}");
            // The health check answers its own 503, without one.
            assert_eq!(has("Retry-After"), ["429", "503"].contains(&&**status) && place != "get /", "{place} {status}");
            let is_made = ["post /auth/register", "post /admin/users", "post /admin/roles"].contains(&&*place);
            assert_eq!(has("Location"), status == "201" && is_made, "{place} {status}");
        }
    }
}

#[test]
fn a_host_applications_operations_are_guarded_unless_they_say_otherwise() {
    let host = json!({
        "openapi": "3.1.0",
        "info": {"title": "Projects", "version": "1"},
        "paths": {
            "/api/projects": {
                "get": {"operationId": "list", "responses": {"200": {"description": "All"}, "403": {"description": "Mine"}}},
                "post": {"operationId": "list", "responses": {}},
                "put": {"operationId": "delete_user", "responses": {"404": {"description": "None such"}}},
            },
            "/open": {"get": {"responses": {"200": {"description": "Anyone"}}, "security": [{}]}},
            "/hook": {"post": {"responses": {}, "security": [{"api_key": []}]}},
        },
    });
    let merged = openapi(&endpoints(), Some(serde_json::from_value(host).unwrap()));
    let merged = serde_json::to_value(merged).unwrap();
    assert_eq!(merged["info"]["title"], "Projects");
    let of = |place: &str| {
        let (method, path) = place.split_once(' ').unwrap();
        merged["paths"][path][method].clone()
    };
    for place in ["get /api/projects", "post /api/projects", "put /api/projects"] {
        let operation = of(place);
        assert_eq!(operation["security"], json!([{"bearer": []}, {"password": []}]), "{place}");
        for status in ["401", "403", "503"] {
            let response = &operation["responses"][status];
            assert!(response["content"]["application/problem+json"]["examples"].is_object(), "{place} {status}");
            assert!(response["headers"]["X-Request-Id"].is_object(), "{place} {status}");
        }
    }
    // What the application says itself stays.
    assert_eq!(of("get /api/projects")["responses"]["403"]["description"], "Mine");
    let missing = of("put /api/projects")["responses"]["404"]["content"]["application/problem+json"].clone();
    assert!(missing["examples"]["not_found"].is_object(), "{missing}");
    for (place, security) in [("get /open", json!([{}])), ("post /hook", json!([{"api_key": []}]))] {
        let operation = of(place);
        assert_eq!(operation["security"], security);
        assert!(operation["responses"].get("401").is_none(), "{operation}");
    }
    let mut ids = BTreeSet::new();
    for (place, operation) in operations(&merged) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id), "{place}: another one is {id}");
    }
    // Its own names, where no other has them.
    let id = |place| of(place)["operationId"].clone();
    assert_eq!((id("get /api/projects"), id("post /api/projects")), (json!("list"), json!("post_api_projects")));
    assert_eq!((id("put /api/projects"), id("get /open")), (json!("put_api_projects"), json!("get_open")));
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
