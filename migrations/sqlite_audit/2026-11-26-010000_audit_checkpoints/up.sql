-- Signed statements of how far each writer had come, and of what retention removed. The body is JSON.
CREATE TABLE audit_checkpoints (
    id    BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    kind  TEXT NOT NULL CHECK (kind IN ('heads', 'retention')),
    body  TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX audit_checkpoints_by_kind ON audit_checkpoints (kind, id);
