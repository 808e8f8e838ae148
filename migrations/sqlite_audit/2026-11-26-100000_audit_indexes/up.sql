-- An index for each filter that may be a rare one; each in order of ids, as a page is.
CREATE INDEX audit_logs_by_resource_id ON audit_logs (resource_id, id) WHERE resource_id IS NOT NULL;
CREATE INDEX audit_logs_by_resource_type ON audit_logs (resource_type, id) WHERE resource_type IS NOT NULL;
CREATE INDEX audit_logs_by_username ON audit_logs (lower(username), id);
CREATE INDEX audit_logs_by_address ON audit_logs (ip_address, id);
CREATE INDEX audit_logs_by_request ON audit_logs (request_id, id);
CREATE INDEX audit_logs_by_outcome ON audit_logs (outcome, id) WHERE outcome <> 'success';
CREATE INDEX audit_logs_by_status ON audit_logs (response_status, id) WHERE response_status >= 400;
DROP INDEX audit_logs_by_resource;
