-- Noted when the runner was registered.
SELECT WHERE $1::uuid IS NULL AND $2::uuid IS NULL
