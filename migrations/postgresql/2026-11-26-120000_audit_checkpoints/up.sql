-- Signed statements of how far each writer of the audit log had come: `heads` now and then, `retention`
-- before records are removed. The body is JSON, and says all of it again under its signature.
CREATE TABLE audit_checkpoints (
    id    uuid PRIMARY KEY,
    kind  text NOT NULL CHECK (kind IN ('heads', 'retention')),
    body  text NOT NULL
);
CREATE INDEX audit_checkpoints_by_kind ON audit_checkpoints (kind, id);
