-- name: insert_dream
-- A new dream.
INSERT INTO dreams (workspace, id, status, created_at, source, output, session, body, begun_at, opened_at, outcome,
    ended_at, settled_at, archived_at, error, usage)
VALUES (:workspace, :id, :status, :created_at, :source, :output, :session, :body, :begun_at, :opened_at, :outcome,
    :ended_at, :settled_at, :archived_at, :error, :usage);

-- name: dream
-- One dream.
SELECT workspace, id, status, created_at, source, output, session, body, begun_at, opened_at, outcome, ended_at,
    settled_at, archived_at, error, usage
FROM dreams WHERE workspace = :workspace AND id = :id;

-- name: dreams_both_ways
-- A page of a workspace's dreams.
SELECT workspace, id, status, created_at, source, output, session, body, begun_at, opened_at, outcome, ended_at,
    settled_at, archived_at, error, usage
FROM dreams
WHERE workspace = :workspace AND (created_at, id) < (:after_time, :after_id)
  AND (CAST(:archived AS boolean) OR archived_at IS NULL)
  AND (CAST(:statuses AS text) IS NULL OR CAST(:statuses AS text) LIKE '% ' || status || ' %')
  AND created_at > :gt AND created_at >= :gte AND created_at < :lt AND created_at <= :lte
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: unsettled_dreams
-- Those of which something may be under way, in all workspaces.
SELECT workspace, id, status, created_at, source, output, session, body, begun_at, opened_at, outcome, ended_at,
    settled_at, archived_at, error, usage
FROM dreams WHERE settled_at IS NULL ORDER BY created_at, id LIMIT :limit;

-- name: dream_in_place
-- One that writes this memory store itself, and is not settled.
SELECT id FROM dreams
WHERE workspace = :workspace AND source = :store AND output = source AND settled_at IS NULL LIMIT 1;

-- name: begin_dream
-- Once.
UPDATE dreams SET status = 'running', begun_at = :at
WHERE workspace = :workspace AND id = :id AND status = 'pending' AND outcome IS NULL;

-- name: size_of_memories
-- What the contents of a store hold together.
SELECT CAST(coalesce(sum(size), 0) AS bigint) AS size FROM memories WHERE workspace = :workspace AND store = :store;

-- name: copy_memory_versions
-- The current versions of a store become first ones of another.
INSERT INTO memory_versions (workspace, store, id, memory, operation, path, content, sha256, size, created_at,
    actor_type, actor)
SELECT m.workspace, CAST(:output AS text),
    CAST(:version AS text) || CAST(10000 + row_number() OVER (ORDER BY m.path) AS text),
    CAST(:memory AS text) || CAST(10000 + row_number() OVER (ORDER BY m.path) AS text),
    'created', m.path, v.content, m.sha256, m.size, CAST(:at AS text), 'session_actor', CAST(:session AS text)
FROM memories m JOIN memory_versions v ON v.workspace = m.workspace AND v.store = m.store AND v.id = m.version
WHERE m.workspace = :workspace AND m.store = :source;

-- name: copy_memories
-- And these are the other's memories.
INSERT INTO memories (workspace, store, id, path, version, sha256, size, created_at, updated_at)
SELECT workspace, store, memory, path, id, sha256, size, created_at, created_at FROM memory_versions
WHERE workspace = :workspace AND store = :output;

-- name: open_dream
-- Once.
UPDATE dreams SET opened_at = :at WHERE workspace = :workspace AND id = :id AND opened_at IS NULL;

-- name: decide_dream
-- Once.
UPDATE dreams SET outcome = :outcome, error = :error
WHERE workspace = :workspace AND id = :id AND outcome IS NULL AND settled_at IS NULL;

-- name: cancel_dream
-- Whatever was decided, as long as nobody was told.
UPDATE dreams SET outcome = 'canceled', status = 'canceled', error = NULL, ended_at = :at
WHERE workspace = :workspace AND id = :id AND status <> 'canceled' AND settled_at IS NULL;

-- name: settle_dream
-- Once.
UPDATE dreams SET status = outcome, ended_at = coalesce(ended_at, :at), settled_at = :at, usage = :usage
WHERE workspace = :workspace AND id = :id AND outcome IS NOT NULL AND settled_at IS NULL;

-- name: archive_dream
-- Once it has ended.
UPDATE dreams SET archived_at = coalesce(archived_at, :at)
WHERE workspace = :workspace AND id = :id AND ended_at IS NOT NULL;
