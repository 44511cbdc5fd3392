-- The tenants that work in databases of their own.
SELECT name FROM cloacina.tenant WHERE placement = 'database' AND state IN ('active', 'suspended')
