SELECT name, fingerprint, version, first_seen FROM cloacina_workflow ORDER BY name, first_seen DESC, fingerprint LIMIT ?1
