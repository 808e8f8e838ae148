//! The tables, once for both databases.

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Id, Instant};

    users (id) {
        id -> Id,
        username -> Text,
        username_key -> Text,
        email -> Nullable<Text>,
        email_key -> Nullable<Text>,
        email_verified -> Bool,
        full_name -> Nullable<Text>,
        password_hash -> Nullable<Text>,
        is_active -> Bool,
        is_superuser -> Bool,
        created_at -> Instant,
        updated_at -> Instant,
        last_login_at -> Nullable<Instant>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::Instant;

    roles (name) {
        name -> Text,
        description -> Text,
        is_built_in -> Bool,
        created_at -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::Instant;

    permissions (name) {
        name -> Text,
        description -> Text,
        is_built_in -> Bool,
        created_at -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Id, Instant};

    user_roles (user_id, role_name) {
        user_id -> Id,
        role_name -> Text,
        assigned_by -> Nullable<Id>,
        assigned_at -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::Instant;

    role_permissions (role_name, permission_name) {
        role_name -> Text,
        permission_name -> Text,
        granted_at -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::Instant;

    role_wildcards (role_name, pattern) {
        role_name -> Text,
        pattern -> Text,
        granted_at -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::Instant;

    role_includes (role_name, included_name) {
        role_name -> Text,
        included_name -> Text,
        included_at -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Id, Instant};

    refresh_tokens (session_id) {
        session_id -> Id,
        user_id -> Id,
        current_hash -> Binary,
        previous_hash -> Nullable<Binary>,
        rotated_at -> Nullable<Instant>,
        created_at -> Instant,
        expires_at -> Instant,
        last_used_at -> Instant,
        ip_address -> Nullable<Text>,
        user_agent -> Nullable<Text>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Id, Instant};

    audit_logs (id) {
        id -> Id,
        writer_id -> Id,
        seq -> BigInt,
        hash -> Nullable<Binary>,
        timestamp -> Instant,
        user_id -> Nullable<Id>,
        username -> Nullable<Text>,
        action -> Text,
        resource_type -> Nullable<Text>,
        resource_id -> Nullable<Text>,
        ip_address -> Nullable<Text>,
        user_agent -> Nullable<Text>,
        request_method -> Nullable<Text>,
        request_path -> Nullable<Text>,
        response_status -> Nullable<SmallInt>,
        outcome -> Text,
        duration_ms -> Integer,
        request_id -> Nullable<Text>,
        metadata -> Text,
        source -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::Id;

    audit_writers (writer_id) {
        writer_id -> Id,
        last_seq -> BigInt,
        last_hash -> Nullable<Binary>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::Id;

    audit_checkpoints (id) {
        id -> Id,
        kind -> Text,
        body -> Text,
    }
}

diesel::table! {
    change_clocks (name) {
        name -> Text,
        version -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::Instant;

    changes (clock, version) {
        clock -> Text,
        version -> BigInt,
        kind -> Text,
        key -> Text,
        created_at -> Instant,
    }
}

diesel::table! {
    settings (name) {
        name -> Text,
        value -> Binary,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::{Id, Instant};

    oauth_identities (id) {
        id -> Id,
        user_id -> Id,
        provider -> Text,
        issuer -> Text,
        subject -> Text,
        email -> Nullable<Text>,
        linked_at -> Instant,
        last_login_at -> Nullable<Instant>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::Instant;

    oauth_used_tokens (digest) {
        digest -> Binary,
        expires_at -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::Instant;

    oauth_flows (state_hash) {
        state_hash -> Binary,
        browser_hash -> Binary,
        provider -> Text,
        okta_domain -> Nullable<Text>,
        redirect_uri -> Text,
        page_state -> Text,
        code_challenge -> Text,
        expires_at -> Instant,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::store::types::Instant;

    oauth_codes (code_hash) {
        code_hash -> Binary,
        code_challenge -> Text,
        provider -> Text,
        issuer -> Text,
        subject -> Text,
        email -> Nullable<Text>,
        full_name -> Nullable<Text>,
        username_hint -> Nullable<Text>,
        expires_at -> Instant,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    users,
    user_roles,
    refresh_tokens,
    roles,
    role_permissions,
    permissions,
    oauth_identities
);
