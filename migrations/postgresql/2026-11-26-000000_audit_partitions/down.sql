ALTER TABLE audit_logs RENAME TO audit_logs_partitioned;
CREATE TABLE audit_logs (
    id               uuid NOT NULL,
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
    outcome          text NOT NULL CONSTRAINT audit_logs_outcome_check CHECK (outcome IN ('success', 'denied', 'failure', 'error')),
    duration_ms      integer NOT NULL,
    request_id       text,
    metadata         text NOT NULL DEFAULT '{}',
    source           text NOT NULL CONSTRAINT audit_logs_source_check CHECK (source IN ('request', 'event', 'cli'))
);
INSERT INTO audit_logs SELECT * FROM audit_logs_partitioned;
DROP TABLE audit_logs_partitioned;
ALTER TABLE audit_logs ADD PRIMARY KEY (id);
CREATE INDEX audit_logs_by_user ON audit_logs (user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX audit_logs_by_action ON audit_logs (action, id);
CREATE INDEX audit_logs_by_resource ON audit_logs (resource_id, resource_type, id) WHERE resource_id IS NOT NULL;
