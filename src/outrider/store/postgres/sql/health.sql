-- name: server
-- What the server is, and what it lets this role do where our tables are or will be.
SELECT current_setting('server_version') AS release, current_setting('server_version_num')::bigint AS number,
       current_setting('server_encoding') AS encoding,
       pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only,
       current_schema() AS schema,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
       to_regclass('schema_version') IS NOT NULL AS begun;

-- name: foreign_tables
-- Tables that this role does not own, so that it can't change them for a newer release.
SELECT c.relname::text AS name FROM pg_class c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND NOT pg_has_role(c.relowner, 'USAGE')
ORDER BY c.relname;

-- name: schema
-- How far the scripts went.
SELECT max(version) AS version FROM schema_version;
