-- Names and keys compare by bytes (COLLATE "C"), as SQLite does.

CREATE TABLE users (
    id              uuid PRIMARY KEY,
    username        text COLLATE "C" NOT NULL,
    username_key    text COLLATE "C" NOT NULL UNIQUE,
    email           text,
    email_key       text COLLATE "C" UNIQUE,
    email_verified  boolean NOT NULL DEFAULT false,
    full_name       text,
    password_hash   text,
    is_active       boolean NOT NULL DEFAULT true,
    is_superuser    boolean NOT NULL DEFAULT false,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    last_login_at   timestamptz,
    CHECK ((email IS NULL) = (email_key IS NULL)),
    CHECK (email IS NOT NULL OR NOT email_verified)
);

CREATE TABLE roles (
    name         text COLLATE "C" PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_-]{0,63}$'),
    description  text NOT NULL,
    is_built_in  boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL
);

CREATE TABLE permissions (
    name         text COLLATE "C" PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_-]{0,63}:[a-z][a-z0-9_-]{0,63}$'),
    description  text NOT NULL,
    is_built_in  boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL
);

CREATE TABLE user_roles (
    user_id      uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role_name    text COLLATE "C" NOT NULL REFERENCES roles (name) ON DELETE CASCADE,
    assigned_by  uuid REFERENCES users (id) ON DELETE SET NULL,
    assigned_at  timestamptz NOT NULL,
    PRIMARY KEY (user_id, role_name)
);
CREATE INDEX user_roles_by_role ON user_roles (role_name, user_id);
CREATE INDEX user_roles_by_assigner ON user_roles (assigned_by) WHERE assigned_by IS NOT NULL;

-- The role admin has no rows: it holds every permission by rule.
CREATE TABLE role_permissions (
    role_name        text COLLATE "C" NOT NULL REFERENCES roles (name) ON DELETE CASCADE,
    permission_name  text COLLATE "C" NOT NULL REFERENCES permissions (name) ON DELETE RESTRICT,
    granted_at       timestamptz NOT NULL,
    PRIMARY KEY (role_name, permission_name)
);
CREATE INDEX role_permissions_by_permission ON role_permissions (permission_name);

-- One row a session: of its refresh tokens only the hashes of the present one and its parent.
CREATE TABLE refresh_tokens (
    session_id     uuid PRIMARY KEY,
    user_id        uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    current_hash   bytea NOT NULL CHECK (length(current_hash) = 32),
    previous_hash  bytea CHECK (length(previous_hash) = 32),
    rotated_at     timestamptz,
    created_at     timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    last_used_at   timestamptz NOT NULL,
    ip_address     text,
    user_agent     text,
    CHECK ((previous_hash IS NULL) = (rotated_at IS NULL))
);
CREATE INDEX refresh_tokens_by_user ON refresh_tokens (user_id);

-- No foreign keys: the records of a deleted user stay. Metadata is text: jsonb would rewrite it,
-- and a hash must not notice.
CREATE TABLE audit_logs (
    id               uuid PRIMARY KEY,
    writer_id        uuid NOT NULL,
    seq              bigint NOT NULL,
    hash             bytea,
    timestamp        timestamptz NOT NULL,
    user_id          uuid,
    username         text,
    action           text COLLATE "C" NOT NULL,
    resource_type    text COLLATE "C",
    resource_id      text COLLATE "C",
    ip_address       text,
    user_agent       text,
    request_method   text,
    request_path     text,
    response_status  smallint,
    outcome          text NOT NULL CHECK (outcome IN ('success', 'denied', 'failure', 'error')),
    duration_ms      integer NOT NULL,
    request_id       text,
    metadata         text NOT NULL DEFAULT '{}',
    source           text NOT NULL CHECK (source IN ('request', 'event', 'cli'))
);
CREATE INDEX audit_logs_by_user ON audit_logs (user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX audit_logs_by_action ON audit_logs (action, id);
CREATE INDEX audit_logs_by_resource ON audit_logs (resource_id, resource_type, id) WHERE resource_id IS NOT NULL;

-- How far each journal has been copied.
CREATE TABLE audit_writers (
    writer_id  uuid PRIMARY KEY,
    last_seq   bigint NOT NULL,
    last_hash  bytea
);

-- What the caches of other instances have to forget. A version is taken by locking its clock's row
-- in the changing transaction, so the versions have no gaps and come in the order of commits.
CREATE TABLE change_clocks (
    name     text PRIMARY KEY,
    version  bigint NOT NULL
);
INSERT INTO change_clocks (name, version) VALUES ('policy', 0), ('sessions', 0);

CREATE TABLE changes (
    clock       text NOT NULL REFERENCES change_clocks (name),
    version     bigint NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('policy', 'user', 'session')),
    key         text NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (clock, version)
);

-- What this installation remembers of itself, as the fingerprint of its signing key.
CREATE TABLE settings (
    name   text PRIMARY KEY,
    value  bytea NOT NULL
);

INSERT INTO permissions (name, description, is_built_in, created_at) VALUES
    ('projects:create', 'Create new projects', TRUE, now()),
    ('projects:read', 'View projects', TRUE, now()),
    ('projects:update', 'Update projects', TRUE, now()),
    ('projects:delete', 'Delete projects', TRUE, now()),
    ('runs:create', 'Create analysis runs', TRUE, now()),
    ('runs:read', 'View analysis runs', TRUE, now()),
    ('runs:update', 'Update analysis runs', TRUE, now()),
    ('runs:delete', 'Delete analysis runs', TRUE, now()),
    ('reports:read', 'View reports', TRUE, now()),
    ('reports:export', 'Export reports', TRUE, now()),
    ('models:read', 'View model information', TRUE, now()),
    ('models:manage', 'Manage model registry', TRUE, now()),
    ('users:read', 'View user information', TRUE, now()),
    ('users:manage', 'Manage users and roles', TRUE, now()),
    ('audit:read', 'View audit logs', TRUE, now());

INSERT INTO roles (name, description, is_built_in, created_at) VALUES
    ('admin', 'Full system access (all permissions)', TRUE, now()),
    ('analyst', 'Can create projects, run analyses, view results', TRUE, now()),
    ('viewer', 'Read-only access to projects and reports', TRUE, now());

INSERT INTO role_permissions (role_name, permission_name, granted_at) VALUES
    ('analyst', 'projects:create', now()),
    ('analyst', 'projects:read', now()),
    ('analyst', 'projects:update', now()),
    ('analyst', 'runs:create', now()),
    ('analyst', 'runs:read', now()),
    ('analyst', 'runs:update', now()),
    ('analyst', 'reports:read', now()),
    ('analyst', 'reports:export', now()),
    ('analyst', 'models:read', now()),
    ('viewer', 'projects:read', now()),
    ('viewer', 'reports:read', now());
