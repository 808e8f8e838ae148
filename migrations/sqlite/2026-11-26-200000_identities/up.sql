-- Accounts at sign-in providers: who signs in with one is the user of this row.
CREATE TABLE oauth_identities (
    id             BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    user_id        BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider       TEXT NOT NULL CHECK (provider IN ('google', 'microsoft', 'okta')),
    issuer         TEXT NOT NULL,
    subject        TEXT NOT NULL,
    email          TEXT,
    linked_at      BIGINT NOT NULL,
    last_login_at  BIGINT,
    UNIQUE (issuer, subject)
);
CREATE INDEX oauth_identities_by_user ON oauth_identities (user_id);

-- What was accepted and is accepted once: SHA-256 of an ID token's signed part.
CREATE TABLE oauth_used_tokens (
    digest      BLOB NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    expires_at  BIGINT NOT NULL
);

-- Sign-ins that a browser has begun. Of what is secret only SHA-256 stands here.
CREATE TABLE oauth_flows (
    state_hash      BLOB NOT NULL PRIMARY KEY CHECK (length(state_hash) = 32),
    browser_hash    BLOB NOT NULL CHECK (length(browser_hash) = 32),
    provider        TEXT NOT NULL,
    okta_domain     TEXT,
    redirect_uri    TEXT NOT NULL,
    page_state      TEXT NOT NULL,
    code_challenge  TEXT NOT NULL,
    expires_at      BIGINT NOT NULL
);

-- Those that the provider has answered: what the page's one-time code stands for.
CREATE TABLE oauth_codes (
    code_hash       BLOB NOT NULL PRIMARY KEY CHECK (length(code_hash) = 32),
    code_challenge  TEXT NOT NULL,
    provider        TEXT NOT NULL,
    issuer          TEXT NOT NULL,
    subject         TEXT NOT NULL,
    email           TEXT,
    full_name       TEXT,
    username_hint   TEXT,
    expires_at      BIGINT NOT NULL
);

CREATE INDEX oauth_used_tokens_by_end ON oauth_used_tokens (expires_at);
CREATE INDEX oauth_flows_by_end ON oauth_flows (expires_at);
CREATE INDEX oauth_codes_by_end ON oauth_codes (expires_at);
