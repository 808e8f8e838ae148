-- Wildcards name no permission that there is: projects:* and *.
CREATE TABLE role_wildcards (
    role_name   TEXT NOT NULL REFERENCES roles (name) ON DELETE CASCADE,
    pattern     TEXT NOT NULL
                CHECK (pattern = '*' OR (length(pattern) BETWEEN 3 AND 66 AND pattern GLOB '[a-z]*:[*]'
                       AND rtrim(pattern, '*') NOT GLOB '*[^a-z0-9_:-]*')),
    granted_at  BIGINT NOT NULL,
    PRIMARY KEY (role_name, pattern)
);

-- A role gives all that the roles give that it includes. There is no cycle: the policy clock's lock,
-- under which every change is made, lets it be checked.
CREATE TABLE role_includes (
    role_name      TEXT NOT NULL REFERENCES roles (name) ON DELETE CASCADE,
    included_name  TEXT NOT NULL REFERENCES roles (name) ON DELETE CASCADE,
    included_at    BIGINT NOT NULL,
    PRIMARY KEY (role_name, included_name),
    CHECK (role_name <> included_name)
);
CREATE INDEX role_includes_by_included ON role_includes (included_name);
