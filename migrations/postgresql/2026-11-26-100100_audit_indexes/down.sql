DROP INDEX audit_logs_by_status;
DROP INDEX audit_logs_by_outcome;
DROP INDEX audit_logs_by_request;
DROP INDEX audit_logs_by_address;
DROP INDEX audit_logs_by_username;
DROP INDEX audit_logs_by_resource_type;
DROP INDEX audit_logs_by_resource_id;
CREATE INDEX audit_logs_by_resource ON audit_logs (resource_id, resource_type, id) WHERE resource_id IS NOT NULL;
