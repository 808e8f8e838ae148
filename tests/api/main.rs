//! The service seen from outside: every rule of its HTTP contract, on both databases.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on has failed")]

#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "other suites use the rest")]
mod support;

mod admin_audit;
mod admin_edges;
mod admin_escalation;
mod admin_grants;
mod admin_includes;
mod admin_instances;
mod admin_last;
mod admin_races;
mod admin_rights;
mod admin_roles;
mod admin_takeover;
mod admin_users;
mod apps;
mod audit;
mod audit_events;
mod audit_faults;
mod audit_interrupted;
mod audit_journal;
mod audit_proof;
mod audit_query;
mod audit_questions;
mod audit_retention;
mod bad_input;
mod command_line;
mod configuration;
mod cors;
mod endpoints;
mod environment;
mod features;
mod fuzz;
mod gone_clients;
mod http;
mod instances;
mod keys;
mod login;
mod logout;
mod many_sessions;
mod nulls;
mod outage;
mod pages;
mod passwords;
mod permissions;
mod profile;
mod proxies;
mod public;
mod readme;
mod refresh;
mod register;
mod roles;
mod roles_as_code;
mod sealed_log;
mod seed;
mod shutdown;
mod tokens;
mod users;
mod verify;
