-- Waits for the flushes of the runner that are under way: they hold its row FOR KEY SHARE, with which only FOR UPDATE conflicts.
SELECT state FROM cloacina.runner WHERE id = $1::uuid FOR UPDATE
