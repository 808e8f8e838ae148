//! Roles and permissions as one TOML file, sorted: the same state is the same text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::Deserialize;
use toml::Spanned;

use crate::domain::{
    FieldError, Grant, Permission, PermissionInfo, PolicyChange, PolicyDraft, Role, RoleName, parse_description,
};

/// What a reviewer finds at the top.
const HEADER: &str = "\
# Roles and permissions. `portcullis apply` makes each role exactly what this says.
# A grant is resource:action, resource:* or *; the role admin has every permission, by rule.
";

/// A file that does not hold: where, and why.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    permissions: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    roles: BTreeMap<Spanned<String>, RoleTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleTable {
    description: Option<Spanned<String>>,
    #[serde(default)]
    permissions: Vec<Spanned<String>>,
    #[serde(default)]
    includes: Vec<Spanned<String>>,
}

/// A file that was read: what it wants, and where it says so.
#[derive(Debug)]
pub(super) struct RolesFile {
    pub(super) wanted: PolicyDraft,
    lines: BTreeMap<Place, usize>,
}

/// What stands on a line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Permission(Permission),
    Role(RoleName),
    Grant(RoleName, Grant),
    Include(RoleName, RoleName),
}

impl RolesFile {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let reader = Reader { text };
        let document: Document = toml::from_str(text).map_err(|error| Fault {
            line: error.span().map_or(1, |span| reader.line(span.start)),
            why: error.message().replace('\n', "; "),
        })?;
        let mut lines = BTreeMap::new();
        let mut permissions = Vec::new();
        for (name, description) in &document.permissions {
            let permission = reader.at(name, Permission::parse)?;
            lines.insert(Place::Permission(permission.clone()), reader.line(name.span().start));
            let description = reader.at(description, parse_description)?;
            permissions.push(PermissionInfo { name: permission, description, is_built_in: false });
        }
        let mut roles = Vec::new();
        for (name, table) in &document.roles {
            let role = reader.at(name, RoleName::parse)?;
            lines.insert(Place::Role(role.clone()), reader.line(name.span().start));
            let description = match &table.description {
                Some(description) => reader.at(description, parse_description)?,
                None => String::new(),
            };
            let mut grants = BTreeSet::new();
            for text in &table.permissions {
                let grant = reader.at(text, Grant::parse)?;
                if role.is_admin() && !grant.is_everything() {
                    return Err(reader.fault(text, "the role admin has every permission, by rule: [\"*\"]"));
                }
                lines.insert(Place::Grant(role.clone(), grant.clone()), reader.line(text.span().start));
                if !grants.insert(grant) {
                    return Err(reader.fault(text, &format!("{} stands twice", text.get_ref())));
                }
            }
            let mut includes = BTreeSet::new();
            for text in &table.includes {
                let other = reader.at(text, RoleName::parse)?;
                lines.insert(Place::Include(role.clone(), other.clone()), reader.line(text.span().start));
                if !includes.insert(other) {
                    return Err(reader.fault(text, &format!("{} stands twice", text.get_ref())));
                }
            }
            // The rule of the role admin is no row.
            let grants = if role.is_admin() { Vec::new() } else { grants.into_iter().collect() };
            let includes = includes.into_iter().collect();
            roles.push(Role { name: role, description, is_built_in: false, grants, includes });
        }
        Ok(Self { wanted: PolicyDraft::new(roles, permissions), lines })
    }

    /// The line that asks for a change; the first one where none does.
    pub(super) fn line_of(&self, change: &PolicyChange) -> usize {
        let place = match change {
            PolicyChange::CreatePermission(name, _) | PolicyChange::DescribePermission(name, _) => {
                Place::Permission(name.clone())
            }
            PolicyChange::DeletePermission(name) => {
                // What is not named can be in the way only by a grant that names it.
                let wanted = Grant::from(name.clone());
                let is_grant = |place: &Place| matches!(place, Place::Grant(_, grant) if *grant == wanted);
                return self.lines.iter().find(|(place, _)| is_grant(place)).map_or(1, |(_, line)| *line);
            }
            PolicyChange::CreateRole(role, _)
            | PolicyChange::DescribeRole(role, _)
            | PolicyChange::DeleteRole(role)
            | PolicyChange::Revoke(role, _)
            | PolicyChange::Exclude(role, _) => Place::Role(role.clone()),
            PolicyChange::Grant(role, grant) => Place::Grant(role.clone(), grant.clone()),
            PolicyChange::Include(role, other) => Place::Include(role.clone(), other.clone()),
        };
        self.lines.get(&place).copied().unwrap_or(1)
    }

    /// The line of a role; the first one where it is not named.
    pub(super) fn line_of_role(&self, role: &RoleName) -> usize {
        self.lines.get(&Place::Role(role.clone())).copied().unwrap_or(1)
    }
}

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    /// Lines are counted from 1.
    fn line(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
    }

    fn fault(&self, at: &Spanned<String>, why: &str) -> Fault {
        Fault { line: self.line(at.span().start), why: why.to_owned() }
    }

    fn at<T>(&self, text: &Spanned<String>, parse: impl Fn(&str) -> Result<T, FieldError>) -> Result<T, Fault> {
        parse(text.get_ref()).map_err(|error| self.fault(text, &format!("{:?}: {}", text.get_ref(), error.message)))
    }
}

/// The file that says what there is.
pub(super) fn write(draft: &PolicyDraft) -> String {
    let mut text = HEADER.to_owned();
    text.push_str("\n[permissions]\n");
    for info in draft.permissions().values() {
        line(&mut text, format_args!("{} = {}", quoted(info.name.as_str()), quoted(&info.description)));
    }
    for role in draft.roles().values() {
        line(&mut text, format_args!("\n[roles.{}]", role.name));
        line(&mut text, format_args!("description = {}", quoted(&role.description)));
        list(&mut text, "permissions", &role.effective_grants());
        list(&mut text, "includes", &role.includes);
    }
    text
}

/// One item a line, so that a change is one line of a diff.
fn list(text: &mut String, key: &str, items: &[impl ToString]) {
    if items.is_empty() {
        line(text, format_args!("{key} = []"));
        return;
    }
    line(text, format_args!("{key} = ["));
    for item in items {
        line(text, format_args!("    {},", quoted(&item.to_string())));
    }
    line(text, format_args!("]"));
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    // A String takes whatever is written.
    let _ = writeln!(text, "{what}");
}

/// As a basic string, whatever is in it: the library would choose another kind for some.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
[permissions]
\"invoices:approve\" = \"Approve \\\"invoices\\\"\"

[roles.clerk]
description = 'Pays \\ and \"signs\"'
permissions = [\"invoices:approve\", \"runs:*\"]
includes = [\"viewer\"]
";

    #[test]
    fn what_is_written_is_read_back_the_same() {
        let file = RolesFile::parse(FILE).unwrap();
        let text = write(&file.wanted);
        assert_eq!(RolesFile::parse(&text).unwrap().wanted, file.wanted);
        assert!(text.contains("\n    \"runs:*\",\n"), "{text}");
    }

    #[test]
    fn what_does_not_hold_is_told_with_its_line() {
        for (text, line, why) in [
            ("[permissions]\nx = \"y\"\n", 2, "resource:action"),
            ("[permissions]\n\"a:b\" = 3\n", 2, "invalid type"),
            ("[roles.a]\ncolour = 3\n", 2, "unknown field `colour`"),
            ("[rolls]\n", 1, "unknown field `rolls`"),
            ("[roles.a]\n\n[roles.a]\n", 3, "duplicate"),
            ("[roles.a]\npermissions = [\n\"a:b\",\n\"a:b\",\n]\n", 4, "twice"),
            ("[roles.a]\nincludes = [\n\"b\",\n\"b\",\n]\n", 4, "twice"),
            ("[roles.a]\npermissions = [\"a:b:c\"]\n", 2, "A grant is"),
            ("[roles.\"Big Boss\"]\n", 1, "role's name"),
            ("[roles.admin]\npermissions = [\"a:b\"]\n", 2, "by rule"),
            ("[roles.a\n", 1, ""),
        ] {
            let fault = RolesFile::parse(text).unwrap_err();
            assert_eq!(fault.line, line, "{text} {fault}");
            assert!(fault.why.contains(why), "{text} {fault}");
        }
    }
}
