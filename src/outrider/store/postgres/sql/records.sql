-- name: answer
-- A stored answer that is not too old.
SELECT status, body, retries FROM answers
WHERE workspace = :workspace AND idempotency = :idempotency AND at >= :not_before;

-- name: put_answer
-- Keep an answer; a later one under the same key takes its place.
INSERT INTO answers (workspace, idempotency, at, status, body) VALUES (:workspace, :idempotency, :at, :status, :body)
ON CONFLICT (workspace, idempotency) DO UPDATE
SET at = excluded.at, status = excluded.status, body = excluded.body;

-- name: erase_answers
-- What is kept for retries of a session's requests, and of the one that made it, goes with the session.
DELETE FROM answers
WHERE workspace = :workspace AND (idempotency = :opened_by OR (idempotency >= :first AND idempotency < :beyond));

-- name: hold_answer
-- Be alone with an answer's name until this transaction's end; who makes a session under one takes the same lock.
SELECT pg_advisory_xact_lock(hashtextextended(CAST(:workspace AS text) || ' ' || CAST(:idempotency AS text), 0));

-- name: hold_ending
-- Be alone with what sessions stand on until this transaction's end; who makes one on it shares the same lock.
SELECT pg_advisory_xact_lock(
    1718579060, lock_of_footing(CAST(:workspace AS text), CAST(:kind AS text), CAST(:id AS text))
);

-- name: forget_answers
-- Drop what is too old to be asked for.
DELETE FROM answers WHERE at < :before;

-- name: tables_of_workspaces
-- Where something may be that belongs to one.
SELECT c.relname FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND a.attname = 'workspace' AND NOT a.attisdropped
ORDER BY c.relname;

-- name: erase_rows
-- Some of a workspace's rows in one table.
DELETE FROM {table}
WHERE workspace = :workspace AND ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE workspace = :workspace LIMIT :most));
