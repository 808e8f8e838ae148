-- Signed statements of how far each writer had come, and of what retention removed. The body is JSON.
CREATE TABLE audit_checkpoints (
    id    uuid PRIMARY KEY,
    kind  text NOT NULL CHECK (kind IN ('heads', 'retention')),
    body  text NOT NULL
);
CREATE INDEX audit_checkpoints_by_kind ON audit_checkpoints (kind, id);
