//! The layers of the crate: which module may use which. The picture stands in README.md.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which of our modules each may name, itself aside.
const MAY_USE: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &["domain"]),
    ("metrics", &[]),
    ("verifier", &["domain"]),
    ("problem", &["domain"]),
    ("proof", &["domain"]),
    ("journal", &["domain", "clock", "proof"]),
    ("store", &["domain", "proof"]),
    ("oidc", &["domain", "clock"]),
    ("actors", &["domain", "clock", "metrics", "verifier", "proof", "journal", "store", "oidc"]),
    ("guard", &["domain", "clock", "metrics", "verifier", "actors", "problem"]),
    ("api", &["domain", "metrics", "proof", "actors", "problem", "guard"]),
    ("config", &["domain", "journal", "store", "oidc", "actors", "guard", "api"]),
    (
        "app",
        &[
            "domain", "clock", "metrics", "problem", "proof", "journal", "store", "oidc", "actors", "guard", "api",
            "config",
        ],
    ),
    ("cli", &["domain", "clock", "metrics", "proof", "journal", "store", "actors", "app", "config"]),
];

/// Which modules may name a framework.
const FRAMEWORKS: &[(&str, &[&str])] = &[
    ("diesel", &["store"]),
    ("diesel_async", &["store"]),
    ("bb8", &["store"]),
    ("tokio_postgres", &["store"]),
    ("actix_web", &["problem", "guard", "api", "app"]),
    ("actix", &["actors", "app", "cli"]),
    ("actix_web_httpauth", &["problem"]),
    ("jsonwebtoken", &["verifier", "actors", "guard"]),
    ("reqwest", &["oidc", "guard"]),
    ("openidconnect", &["oidc"]),
    ("oauth2", &["oidc"]),
    ("bcrypt", &["actors"]),
    ("clap", &["cli"]),
    ("utoipa", &["domain", "problem", "proof", "api", "app"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// Of each file its module's name and its code, without comments and without its unit tests.
fn modules() -> Vec<(String, PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    files
        .into_iter()
        .filter(|path| !path.ends_with("lib.rs") && !path.ends_with("main.rs") && !path.ends_with("tests.rs"))
        .filter(|path| path.parent().is_some_and(|folder| !folder.ends_with("tests")))
        .map(|path| {
            let relative = path.strip_prefix(&src).unwrap();
            let first = relative.components().next().unwrap().as_os_str().to_str().unwrap();
            let module = first.trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            (module, path, code)
        })
        .collect()
}

/// The names that follow a prefix, as `store` in `crate::store::Store`.
fn named_after<'a>(code: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    code.split(prefix)
        .skip(1)
        .map(|rest| rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap())
        .filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect()
}

fn names(code: &str, library: &str) -> bool {
    let used = format!("{library}::");
    code.match_indices(&used).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
    })
}

#[test]
fn each_layer_uses_only_those_below_it() {
    for (module, path, code) in modules() {
        let allowed = MAY_USE.iter().find(|(name, _)| *name == module);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{module} has no row in the table of layers"));
        for used in named_after(&code, "crate::") {
            assert!(
                used == module || allowed.contains(&used) || !MAY_USE.iter().any(|(name, _)| *name == used),
                "{}: {module} may not use {used}",
                path.display()
            );
        }
    }
}

#[test]
fn each_framework_stays_in_its_layers() {
    for (module, path, code) in modules() {
        for (library, allowed) in FRAMEWORKS {
            if names(&code, library) {
                assert!(allowed.contains(&module.as_str()), "{}: {module} may not name {library}", path.display());
            }
        }
    }
}

#[test]
fn the_table_of_layers_has_no_circle() {
    for (index, (module, allowed)) in MAY_USE.iter().enumerate() {
        for used in *allowed {
            let place = MAY_USE.iter().position(|(name, _)| name == used).unwrap();
            assert!(place < index, "{module} and {used} stand in the wrong order");
        }
    }
}
