-- name: insert_memory_store
-- A new store of memories.
INSERT INTO memory_stores (workspace, id, created_at, updated_at, archived_at, body)
VALUES (:workspace, :id, :created_at, :updated_at, :archived_at, :body);

-- name: memory_store
-- One store of memories.
SELECT workspace, id, created_at, updated_at, archived_at, body FROM memory_stores
WHERE workspace = :workspace AND id = :id;

-- name: memory_stores_both_ways
-- A page of a workspace's stores of memories.
SELECT workspace, id, created_at, updated_at, archived_at, body FROM memory_stores
WHERE workspace = :workspace AND (created_at, id) < (:after_time, :after_id)
  AND (CAST(:archived AS boolean) OR archived_at IS NULL)
  AND created_at > :gt AND created_at >= :gte AND created_at < :lt AND created_at <= :lte
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: update_memory_store
-- Name, description and metadata, if nobody changed the store since they were read.
UPDATE memory_stores SET body = :body, updated_at = :updated_at
WHERE workspace = :workspace AND id = :id AND archived_at IS NULL AND updated_at = :if_updated;

-- name: archive_memory_store
-- Once.
UPDATE memory_stores SET archived_at = :at, updated_at = :at
WHERE workspace = :workspace AND id = :id AND archived_at IS NULL;

-- name: hold_memory_store
-- Take the store's row, so that changes of its memories follow one another; it says whether it is archived.
UPDATE memory_stores SET id = id WHERE workspace = :workspace AND id = :store
RETURNING archived_at;

-- name: delete_memory_store
-- Forget the store itself.
DELETE FROM memory_stores WHERE workspace = :workspace AND id = :id;

-- name: delete_memories
-- With a store go all that it holds,
DELETE FROM memories WHERE workspace = :workspace AND store = :id;

-- name: delete_memory_versions
-- and all that it held.
DELETE FROM memory_versions WHERE workspace = :workspace AND store = :id;

-- name: memory
-- A memory by its id.
SELECT workspace, store, id, path, version, sha256, size, created_at, updated_at FROM memories
WHERE workspace = :workspace AND store = :store AND id = :id;

-- name: memory_at
-- A memory by its path.
SELECT workspace, store, id, path, version, sha256, size, created_at, updated_at FROM memories
WHERE workspace = :workspace AND store = :store AND path = :path;

-- name: memories
-- Memories by path, between two bounds.
SELECT workspace, store, id, path, version, sha256, size, created_at, updated_at FROM memories
WHERE workspace = :workspace AND store = :store AND path > :after AND path >= :least AND path < :beyond
ORDER BY path LIMIT :limit;

-- name: count_memories
-- How many a store holds.
SELECT count(*) FROM memories WHERE workspace = :workspace AND store = :store;

-- name: insert_memory
-- A new memory.
INSERT INTO memories (workspace, store, id, path, version, sha256, size, created_at, updated_at)
VALUES (:workspace, :store, :id, :path, :version, :sha256, :size, :created_at, :updated_at);

-- name: put_memory
-- A memory's new state.
UPDATE memories SET path = :path, version = :version, sha256 = :sha256, size = :size, updated_at = :updated_at
WHERE workspace = :workspace AND store = :store AND id = :id;

-- name: delete_memory
-- The memory goes, its versions stay.
DELETE FROM memories WHERE workspace = :workspace AND store = :store AND id = :id;

-- name: insert_memory_version
-- One change; it never changes but by redaction.
INSERT INTO memory_versions (workspace, store, id, memory, operation, path, content, sha256, size, created_at,
    actor_type, actor, redacted_at, redactor_type, redactor)
VALUES (:workspace, :store, :id, :memory, :operation, :path, :content, :sha256, :size, :created_at,
    :actor_type, :actor, :redacted_at, :redactor_type, :redactor);

-- name: memory_version
-- One version.
SELECT workspace, store, id, memory, operation, path, content, sha256, size, created_at,
    actor_type, actor, redacted_at, redactor_type, redactor
FROM memory_versions WHERE workspace = :workspace AND store = :store AND id = :id;

-- name: memory_versions
-- A page of a store's versions, newest first.
SELECT workspace, store, id, memory, operation, path, content, sha256, size, created_at,
    actor_type, actor, redacted_at, redactor_type, redactor
FROM memory_versions
WHERE workspace = :workspace AND store = :store AND (created_at, id) < (:after_time, :after_id)
  AND (CAST(:memory AS text) IS NULL OR memory = :memory)
  AND (CAST(:operation AS text) IS NULL OR operation = :operation)
  AND (CAST(:actor_type AS text) IS NULL OR (actor_type = :actor_type AND actor = :actor))
  AND created_at > :gt AND created_at >= :gte AND created_at < :lt AND created_at <= :lte
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: is_head
-- Whether a version is a living memory's current one.
SELECT 1 FROM memories WHERE workspace = :workspace AND store = :store AND id = :memory AND version = :id;

-- name: redact_memory_version
-- What was said goes; that something was, by whom and when, stays. Once.
UPDATE memory_versions
SET path = NULL, content = NULL, sha256 = NULL, size = NULL,
    redacted_at = :at, redactor_type = :actor_type, redactor = :actor
WHERE workspace = :workspace AND store = :store AND id = :version AND redacted_at IS NULL;

-- name: current_memories
-- Memories by path with their contents.
SELECT m.workspace, m.store, m.id, m.path, m.version, m.sha256, m.size, m.created_at, m.updated_at, v.content
FROM memories m JOIN memory_versions v ON v.workspace = m.workspace AND v.store = m.store AND v.id = m.version
WHERE m.workspace = :workspace AND m.store = :store AND m.path > :after
ORDER BY m.path LIMIT :limit;

-- name: memory_sizes
-- How large the next memories by path are.
SELECT size FROM memories WHERE workspace = :workspace AND store = :store AND path > :after
ORDER BY path LIMIT :limit;

-- name: attach_memory_store
-- A session gets a store; if it was tried before, it has it already.
INSERT INTO memory_attachments (workspace, store, session, created_at)
VALUES (:workspace, :store, :session, :at)
ON CONFLICT (workspace, store, session) DO UPDATE SET created_at = excluded.created_at;

-- name: orphan_attachments
-- Their store is being deleted.
UPDATE memory_attachments SET orphaned_at = :at WHERE workspace = :workspace AND store = :id;

-- name: forget_attachments
-- Their sessions were never made.
DELETE FROM memory_attachments
WHERE created_at >= :since AND created_at < :before AND NOT EXISTS (
    SELECT 1 FROM sessions s WHERE s.workspace = memory_attachments.workspace AND s.id = memory_attachments.session
);

-- name: orphaned_attachments
-- Sessions that may still have something of a store that is gone.
SELECT a.workspace, a.store, a.session FROM memory_attachments a
WHERE a.orphaned_at IS NOT NULL AND a.erased_at IS NULL
ORDER BY a.workspace, a.store, a.session LIMIT :limit;

-- name: note_erased
-- They have not any more.
UPDATE memory_attachments SET erased_at = :at
WHERE workspace = :workspace AND store = :store AND session = :session;

-- name: erase_attachments
-- A session's end.
DELETE FROM memory_attachments WHERE workspace = :workspace AND session = :session;
