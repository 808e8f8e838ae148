-- Wildcards name no permission that there is: projects:* and *.
CREATE TABLE role_wildcards (
    role_name   text COLLATE "C" NOT NULL REFERENCES roles (name) ON DELETE CASCADE,
    pattern     text COLLATE "C" NOT NULL CHECK (pattern ~ '^(\*|[a-z][a-z0-9_-]{0,63}:\*)$'),
    granted_at  timestamptz NOT NULL,
    PRIMARY KEY (role_name, pattern)
);

-- A role gives all that the roles give that it includes. There is no cycle: the policy clock's lock,
-- under which every change is made, lets it be checked.
CREATE TABLE role_includes (
    role_name      text COLLATE "C" NOT NULL REFERENCES roles (name) ON DELETE CASCADE,
    included_name  text COLLATE "C" NOT NULL REFERENCES roles (name) ON DELETE CASCADE,
    included_at    timestamptz NOT NULL,
    PRIMARY KEY (role_name, included_name),
    CHECK (role_name <> included_name)
);
CREATE INDEX role_includes_by_included ON role_includes (included_name);
