-- Accounts at sign-in providers: who signs in with one is the user of this row.
CREATE TABLE oauth_identities (
    id             uuid PRIMARY KEY,
    user_id        uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider       text NOT NULL CHECK (provider IN ('google', 'microsoft', 'okta')),
    issuer         text COLLATE "C" NOT NULL,
    subject        text COLLATE "C" NOT NULL,
    email          text,
    linked_at      timestamptz NOT NULL,
    last_login_at  timestamptz,
    UNIQUE (issuer, subject)
);
CREATE INDEX oauth_identities_by_user ON oauth_identities (user_id);

-- What was accepted and is accepted once: SHA-256 of an ID token's signed part.
CREATE TABLE oauth_used_tokens (
    digest      bytea PRIMARY KEY CHECK (length(digest) = 32),
    expires_at  timestamptz NOT NULL
);

-- Sign-ins that a browser has begun. Of what is secret only SHA-256 stands here.
CREATE TABLE oauth_flows (
    state_hash      bytea PRIMARY KEY CHECK (length(state_hash) = 32),
    browser_hash    bytea NOT NULL CHECK (length(browser_hash) = 32),
    provider        text NOT NULL,
    okta_domain     text,
    redirect_uri    text NOT NULL,
    page_state      text NOT NULL,
    code_challenge  text NOT NULL,
    expires_at      timestamptz NOT NULL
);

-- Those that the provider has answered: what the page's one-time code stands for.
CREATE TABLE oauth_codes (
    code_hash       bytea PRIMARY KEY CHECK (length(code_hash) = 32),
    code_challenge  text NOT NULL,
    provider        text NOT NULL,
    issuer          text NOT NULL,
    subject         text NOT NULL,
    email           text,
    full_name       text,
    username_hint   text,
    expires_at      timestamptz NOT NULL
);

CREATE INDEX oauth_used_tokens_by_end ON oauth_used_tokens (expires_at);
CREATE INDEX oauth_flows_by_end ON oauth_flows (expires_at);
CREATE INDEX oauth_codes_by_end ON oauth_codes (expires_at);
