-- Times are milliseconds since 1970 in UTC, ids and hashes are blobs.

CREATE TABLE users (
    id              BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    username        TEXT NOT NULL,
    username_key    TEXT NOT NULL UNIQUE,
    email           TEXT,
    email_key       TEXT UNIQUE,
    email_verified  BOOLEAN NOT NULL DEFAULT FALSE CHECK (email_verified IN (0, 1)),
    full_name       TEXT,
    password_hash   TEXT,
    is_active       BOOLEAN NOT NULL DEFAULT TRUE CHECK (is_active IN (0, 1)),
    is_superuser    BOOLEAN NOT NULL DEFAULT FALSE CHECK (is_superuser IN (0, 1)),
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    last_login_at   BIGINT,
    CHECK ((email IS NULL) = (email_key IS NULL)),
    CHECK (email IS NOT NULL OR NOT email_verified)
);

CREATE TABLE roles (
    name         TEXT NOT NULL PRIMARY KEY
                 CHECK (length(name) BETWEEN 1 AND 64 AND name GLOB '[a-z]*' AND name NOT GLOB '*[^a-z0-9_-]*'),
    description  TEXT NOT NULL,
    is_built_in  BOOLEAN NOT NULL DEFAULT FALSE CHECK (is_built_in IN (0, 1)),
    created_at   BIGINT NOT NULL
);

CREATE TABLE permissions (
    name         TEXT NOT NULL PRIMARY KEY
                 CHECK (length(name) BETWEEN 3 AND 129 AND name GLOB '[a-z]*:[a-z]*' AND name NOT GLOB '*:*:*'
                        AND name NOT GLOB '*[^a-z0-9_:-]*'),
    description  TEXT NOT NULL,
    is_built_in  BOOLEAN NOT NULL DEFAULT FALSE CHECK (is_built_in IN (0, 1)),
    created_at   BIGINT NOT NULL
);

CREATE TABLE user_roles (
    user_id      BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role_name    TEXT NOT NULL REFERENCES roles (name) ON DELETE CASCADE,
    assigned_by  BLOB REFERENCES users (id) ON DELETE SET NULL,
    assigned_at  BIGINT NOT NULL,
    PRIMARY KEY (user_id, role_name)
);
CREATE INDEX user_roles_by_role ON user_roles (role_name, user_id);
CREATE INDEX user_roles_by_assigner ON user_roles (assigned_by) WHERE assigned_by IS NOT NULL;

-- The role admin has no rows: it holds every permission by rule.
CREATE TABLE role_permissions (
    role_name        TEXT NOT NULL REFERENCES roles (name) ON DELETE CASCADE,
    permission_name  TEXT NOT NULL REFERENCES permissions (name) ON DELETE RESTRICT,
    granted_at       BIGINT NOT NULL,
    PRIMARY KEY (role_name, permission_name)
);
CREATE INDEX role_permissions_by_permission ON role_permissions (permission_name);

-- One row a session: of its refresh tokens only the hashes of the present one and its parent.
CREATE TABLE refresh_tokens (
    session_id     BLOB NOT NULL PRIMARY KEY CHECK (length(session_id) = 16),
    user_id        BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    current_hash   BLOB NOT NULL CHECK (length(current_hash) = 32),
    previous_hash  BLOB CHECK (length(previous_hash) = 32),
    rotated_at     BIGINT,
    created_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    last_used_at   BIGINT NOT NULL,
    ip_address     TEXT,
    user_agent     TEXT,
    CHECK ((previous_hash IS NULL) = (rotated_at IS NULL))
);
CREATE INDEX refresh_tokens_by_user ON refresh_tokens (user_id);

-- What the caches of other processes have to forget. A version is taken by writing its clock's row
-- in the changing transaction, so the versions have no gaps and come in the order of commits.
CREATE TABLE change_clocks (
    name     TEXT NOT NULL PRIMARY KEY,
    version  BIGINT NOT NULL
);
INSERT INTO change_clocks (name, version) VALUES ('policy', 0), ('sessions', 0);

CREATE TABLE changes (
    clock       TEXT NOT NULL REFERENCES change_clocks (name),
    version     BIGINT NOT NULL,
    kind        TEXT NOT NULL CHECK (kind IN ('policy', 'user', 'session')),
    key         TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (clock, version)
);

-- What this installation remembers of itself, as the fingerprint of its signing key.
CREATE TABLE settings (
    name   TEXT NOT NULL PRIMARY KEY,
    value  BLOB NOT NULL
);

INSERT INTO permissions (name, description, is_built_in, created_at) VALUES
    ('projects:create', 'Create new projects', TRUE, unixepoch() * 1000),
    ('projects:read', 'View projects', TRUE, unixepoch() * 1000),
    ('projects:update', 'Update projects', TRUE, unixepoch() * 1000),
    ('projects:delete', 'Delete projects', TRUE, unixepoch() * 1000),
    ('runs:create', 'Create analysis runs', TRUE, unixepoch() * 1000),
    ('runs:read', 'View analysis runs', TRUE, unixepoch() * 1000),
    ('runs:update', 'Update analysis runs', TRUE, unixepoch() * 1000),
    ('runs:delete', 'Delete analysis runs', TRUE, unixepoch() * 1000),
    ('reports:read', 'View reports', TRUE, unixepoch() * 1000),
    ('reports:export', 'Export reports', TRUE, unixepoch() * 1000),
    ('models:read', 'View model information', TRUE, unixepoch() * 1000),
    ('models:manage', 'Manage model registry', TRUE, unixepoch() * 1000),
    ('users:read', 'View user information', TRUE, unixepoch() * 1000),
    ('users:manage', 'Manage users and roles', TRUE, unixepoch() * 1000),
    ('audit:read', 'View audit logs', TRUE, unixepoch() * 1000);

INSERT INTO roles (name, description, is_built_in, created_at) VALUES
    ('admin', 'Full system access (all permissions)', TRUE, unixepoch() * 1000),
    ('analyst', 'Can create projects, run analyses, view results', TRUE, unixepoch() * 1000),
    ('viewer', 'Read-only access to projects and reports', TRUE, unixepoch() * 1000);

INSERT INTO role_permissions (role_name, permission_name, granted_at) VALUES
    ('analyst', 'projects:create', unixepoch() * 1000),
    ('analyst', 'projects:read', unixepoch() * 1000),
    ('analyst', 'projects:update', unixepoch() * 1000),
    ('analyst', 'runs:create', unixepoch() * 1000),
    ('analyst', 'runs:read', unixepoch() * 1000),
    ('analyst', 'runs:update', unixepoch() * 1000),
    ('analyst', 'reports:read', unixepoch() * 1000),
    ('analyst', 'reports:export', unixepoch() * 1000),
    ('analyst', 'models:read', unixepoch() * 1000),
    ('viewer', 'projects:read', unixepoch() * 1000),
    ('viewer', 'reports:read', unixepoch() * 1000);
