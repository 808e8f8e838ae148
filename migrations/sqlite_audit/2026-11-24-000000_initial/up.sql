-- The audit log is a file of its own, so that its batches never hold the lock that a login needs.
-- No foreign keys: the records of a deleted user stay.

CREATE TABLE audit_logs (
    id               BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    writer_id        BLOB NOT NULL,
    seq              BIGINT NOT NULL,
    hash             BLOB,
    timestamp        BIGINT NOT NULL,
    user_id          BLOB,
    username         TEXT,
    action           TEXT NOT NULL,
    resource_type    TEXT,
    resource_id      TEXT,
    ip_address       TEXT,
    user_agent       TEXT,
    request_method   TEXT,
    request_path     TEXT,
    response_status  SMALLINT,
    outcome          TEXT NOT NULL CHECK (outcome IN ('success', 'denied', 'failure', 'error')),
    duration_ms      INTEGER NOT NULL,
    request_id       TEXT,
    metadata         TEXT NOT NULL DEFAULT '{}',
    source           TEXT NOT NULL CHECK (source IN ('request', 'event', 'cli'))
) WITHOUT ROWID;
CREATE INDEX audit_logs_by_user ON audit_logs (user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX audit_logs_by_action ON audit_logs (action, id);
CREATE INDEX audit_logs_by_resource ON audit_logs (resource_id, resource_type, id) WHERE resource_id IS NOT NULL;

-- How far each journal has been copied.
CREATE TABLE audit_writers (
    writer_id  BLOB NOT NULL PRIMARY KEY CHECK (length(writer_id) = 16),
    last_seq   BIGINT NOT NULL,
    last_hash  BLOB
);
