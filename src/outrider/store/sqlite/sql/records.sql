-- name: answer
-- A stored answer that is not too old.
SELECT status, body, retries FROM answers
WHERE workspace = :workspace AND idempotency = :idempotency AND at >= :not_before;

-- name: put_answer
-- Keep an answer; a later one under the same key takes its place.
INSERT INTO answers (workspace, idempotency, at, status, body, retries)
VALUES (:workspace, :idempotency, :at, :status, :body, :retries)
ON CONFLICT (workspace, idempotency) DO UPDATE
SET at = excluded.at, status = excluded.status, body = excluded.body, retries = answers.retries + excluded.retries;

-- name: erase_answers
-- What is kept for retries of a session's requests, and of the one that made it, goes with the session.
DELETE FROM answers
WHERE workspace = :workspace AND (idempotency = :opened_by OR (idempotency >= :first AND idempotency < :beyond));

-- name: hold_answer
-- Be alone with an answer's name until this transaction's end, as every one is.
SELECT 1;

-- name: hold_ending
-- Be alone with what sessions stand on until this transaction's end, as every one is.
SELECT 1;

-- name: forget_answers
-- Drop what is too old to be asked for.
DELETE FROM answers WHERE at < :before;

-- name: tables_of_workspaces
-- Where something may be that belongs to one.
SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
WHERE m.type = 'table' AND c.name = 'workspace' ORDER BY m.name;

-- name: erase_rows
-- Some of a workspace's rows in one table.
DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE workspace = :workspace LIMIT :most);
