-- name: schema
-- How far the scripts went.
SELECT max(version) AS version FROM schema_version;

-- name: tables
-- Our tables with their columns. Not what scripts write, nor what tells of processes that will not be there.
SELECT c.relname AS name, array_agg(a.attname::text ORDER BY a.attnum) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND a.attgenerated = '' AND c.relname NOT IN ('schema_version', 'workers', 'writers', 'couriers')
GROUP BY c.relname ORDER BY c.relname;

-- name: sequences
-- The last number that each has given; those that gave none are left out.
SELECT sequencename AS name, last_value AS last FROM pg_sequences
WHERE schemaname = current_schema() AND last_value IS NOT NULL ORDER BY sequencename;

-- name: resume_sequence
-- Give the numbers after this one.
SELECT setval(to_regclass(quote_ident(:name)), :last::bigint);

-- name: anything
-- Whether somebody has made something here.
SELECT c.relname::text AS name FROM pg_class c
WHERE c.relnamespace = current_schema()::regnamespace ORDER BY c.relname LIMIT 1;

-- name: segments
-- Where cold logs lie.
SELECT workspace, session, segment FROM heads WHERE segment IS NOT NULL;

-- name: outside
-- Rows whose bodies lie in the blob store.
SELECT h.workspace, h.session, e.body FROM events e JOIN heads h ON h.log = e.log
WHERE substring(e.body FROM 1 FOR 1) = '\x00'::bytea;

-- name: disown
-- Nobody owns a session; those that somebody did wait for an owner.
UPDATE wakes SET worker = NULL WHERE worker IS NOT NULL;

-- name: outdate
-- Whoever owned a session, also since the copy was made, is refused.
UPDATE heads SET epoch = epoch + :room;

-- name: owned_by_files
-- Whose bytes lie in the blob store.
SELECT DISTINCT workspace, blob FROM files WHERE blob IS NOT NULL;

-- name: owned_by_skills
-- As are the archives of skills.
SELECT workspace, id AS blob FROM skill_versions;
