-- name: answered
-- Whether another attempt of a request was taken: since then, or as a retry beyond these.
SELECT 1 AS found FROM answers WHERE workspace = :workspace AND idempotency = :idempotency
  AND (at >= CAST(:since AS text) OR retries > CAST(:retries AS bigint));

-- name: put_answer_about
-- What an answer is about, so that it goes with it.
INSERT INTO answers_about (workspace, thing, idempotency, at) VALUES (:workspace, :thing, :idempotency, :at)
ON CONFLICT (workspace, thing, idempotency) DO UPDATE SET at = excluded.at;

-- name: erase_answers_about
-- What is kept for retries of requests about a thing goes with the thing,
DELETE FROM answers WHERE workspace = :workspace AND idempotency IN (
    SELECT idempotency FROM answers_about WHERE workspace = :workspace AND thing = :thing
);

-- name: untie_answers
-- and that it was about it.
DELETE FROM answers_about WHERE workspace = :workspace AND thing = :thing;

-- name: forget_answers_about
-- With answers that are too old to be asked for.
DELETE FROM answers_about WHERE at < :before;

-- name: keep_session
-- Keep it from being deleted until this transaction's end, if it is there; and so the others below.
UPDATE sessions SET updated_at = updated_at WHERE workspace = :workspace AND id = :thing;

-- name: keep_environment
-- An environment.
UPDATE environments SET id = id WHERE workspace = :workspace AND id = :thing;

-- name: keep_vault
-- A vault, archived or not.
UPDATE vaults SET id = id WHERE workspace = :workspace AND id = :thing;

-- name: keep_credential
-- A credential, archived or not.
UPDATE credentials SET id = id WHERE workspace = :workspace AND vault = :vlt AND id = :thing;

-- name: keep_memory_store
-- A store of memories; who deletes or redacts something in it takes its row, too.
UPDATE memory_stores SET id = id WHERE workspace = :workspace AND id = :thing;

-- name: keep_memory
-- A memory.
UPDATE memories SET id = id WHERE workspace = :workspace AND store = :memstore AND id = :thing;

-- name: keep_memory_version
-- A version with its text.
UPDATE memory_versions SET id = id
WHERE workspace = :workspace AND store = :memstore AND id = :thing AND redacted_at IS NULL;

-- name: keep_webhook
-- An endpoint.
UPDATE webhooks SET id = id WHERE workspace = :workspace AND id = :thing;

-- name: keep_work
-- A work item.
UPDATE work_items SET id = id WHERE workspace = :workspace AND environment = :env AND id = :thing;

-- name: erase_answers_about_work
-- As erase_answers_about, of all work items of a session.
DELETE FROM answers WHERE workspace = :workspace AND idempotency IN (
    SELECT idempotency FROM answers_about WHERE workspace = :workspace AND thing IN (
        SELECT id FROM work_items WHERE workspace = :workspace AND session = :session
    )
);

-- name: untie_answers_about_work
-- As untie_answers.
DELETE FROM answers_about WHERE workspace = :workspace AND thing IN (
    SELECT id FROM work_items WHERE workspace = :workspace AND session = :session
);
