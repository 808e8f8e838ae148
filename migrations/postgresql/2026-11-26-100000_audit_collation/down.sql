ALTER TABLE audit_logs
    ALTER COLUMN username TYPE text COLLATE "default",
    ALTER COLUMN ip_address TYPE text COLLATE "default",
    ALTER COLUMN request_id TYPE text COLLATE "default";
