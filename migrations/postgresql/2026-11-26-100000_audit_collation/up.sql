-- What is looked for by an index compares by bytes, as on SQLite: by a language's rules it costs the copy
-- several times as much. A change of the catalog alone; apart from the indexes, so that nobody waits for it long.
ALTER TABLE audit_logs
    ALTER COLUMN username TYPE text COLLATE "C",
    ALTER COLUMN ip_address TYPE text COLLATE "C",
    ALTER COLUMN request_id TYPE text COLLATE "C";
