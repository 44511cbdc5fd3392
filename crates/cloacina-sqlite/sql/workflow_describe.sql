INSERT INTO cloacina_workflow (name, fingerprint, version, description, first_seen) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT DO NOTHING
