DELETE FROM cloacina_notice WHERE tenant_id = ?1 AND noticed_at < ?2
