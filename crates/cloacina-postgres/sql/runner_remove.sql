-- A dead row stays until all its places are clean.
DELETE FROM cloacina.runner
WHERE id = $1::uuid AND state = 'dead'
  AND NOT EXISTS (SELECT FROM cloacina.runner_place WHERE runner_place.runner_id = $1)
