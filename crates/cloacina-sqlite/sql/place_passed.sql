UPDATE cloacina_place SET latest_at = max(latest_at, ?1)
