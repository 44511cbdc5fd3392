-- The logins whose time after a rotation is over, and that can still log in.
SELECT login.role_name, login.tenant_id
FROM cloacina.login JOIN pg_roles AS role ON role.oid = login.role_oid
WHERE login.ends_at <= now() AND role.rolcanlogin
