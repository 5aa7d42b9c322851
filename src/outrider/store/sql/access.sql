-- name: default_workspace
-- The workspace of those who name none.
SELECT id FROM workspaces WHERE is_default;

-- name: insert_default_workspace
-- Made once, when the store is new.
INSERT INTO workspaces (id, is_default, created_at) VALUES (:id, CAST(1 AS boolean), :at) ON CONFLICT DO NOTHING;

-- name: workspaces
-- All workspaces but those that are gone, oldest first.
SELECT id, name, created_at, archived_at, deleting_at FROM workspaces WHERE erased_at IS NULL ORDER BY created_at, id;

-- name: insert_workspace
-- A new workspace; its name must be free among those that aren't archived.
INSERT INTO workspaces (id, is_default, name, created_at, archived_at)
VALUES (:id, CAST(0 AS boolean), :name, :created_at, :archived_at);

-- name: rename_workspace
-- Another name for an active workspace.
UPDATE workspaces SET name = :name WHERE id = :workspace AND archived_at IS NULL;

-- name: hold_workspace
-- Keep an active workspace as it is until this transaction's end.
UPDATE workspaces SET archived_at = NULL WHERE id = :workspace AND archived_at IS NULL;

-- name: known_workspace
-- Whether there is, or was, such a workspace, whether it is the default one, and since when it is gone.
SELECT is_default, erased_at FROM workspaces WHERE id = :workspace;

-- name: archive_workspace
-- Archive a workspace that isn't the default one; the first time stays.
UPDATE workspaces SET archived_at = coalesce(archived_at, :at) WHERE id = :workspace AND NOT is_default;

-- name: doom_workspace
-- Mark a closed workspace: all that is in it is to be erased. The first time stays.
UPDATE workspaces SET deleting_at = coalesce(deleting_at, :at)
WHERE id = :workspace AND archived_at IS NOT NULL AND erased_at IS NULL;

-- name: doomed_workspaces
-- Those that are to be erased, and those that were: somebody may still have written to them.
SELECT id, erased_at FROM workspaces WHERE deleting_at IS NOT NULL ORDER BY deleting_at, id;

-- name: end_workspace
-- Nothing is left of it but its id; the first time stays.
UPDATE workspaces SET erased_at = :at, name = ''
WHERE id = :workspace AND deleting_at IS NOT NULL AND erased_at IS NULL;

-- name: forget_workspaces
-- Those that have been gone for long.
DELETE FROM workspaces WHERE erased_at < :before;

-- name: insert_key
-- A new key.
INSERT INTO api_keys (id, workspace, digest, name, scope, created_at, revoked_at, environment)
VALUES (:id, :workspace, :digest, :name, :scope, :created_at, :revoked_at, :environment);

-- name: key_by_digest
-- The key with this digest, revoked or not, or the work item whose token has it, unless it was taken with a key that is
-- revoked; its workspace is the answer, so none is asked for.
SELECT id, workspace, digest, name, scope, created_at, revoked_at, environment, CAST(NULL AS text), CAST(NULL AS text)
FROM api_keys WHERE digest = :digest
UNION ALL
SELECT id || '.' || CAST(round AS text), workspace, token, 'work', 'session', created_at, CAST(NULL AS text), environment,
       session, id
FROM work_items
WHERE token = :digest AND NOT EXISTS (
    SELECT 1 FROM api_keys AS taker
    WHERE taker.workspace = work_items.workspace AND taker.id = work_items.taken_by AND taker.revoked_at IS NOT NULL
);

-- name: key
-- One of a workspace's keys, revoked or not.
SELECT id, workspace, digest, name, scope, created_at, revoked_at, environment FROM api_keys WHERE workspace = :workspace AND id = :id;

-- name: keys_both_ways
-- A page of a workspace's keys.
SELECT id, workspace, digest, name, scope, created_at, revoked_at, environment FROM api_keys
WHERE workspace = :workspace AND (created_at, id) < (:after_time, :after_id)
  AND (CAST(:archived AS boolean) OR revoked_at IS NULL)
  AND created_at > :gt AND created_at >= :gte AND created_at < :lt AND created_at <= :lte
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: revoke_key
-- Revoke a key; the first time stays.
UPDATE api_keys SET revoked_at = :at WHERE workspace = :workspace AND id = :id AND revoked_at IS NULL;

-- name: revoke_keys
-- Revoke all keys of a workspace.
UPDATE api_keys SET revoked_at = :at WHERE workspace = :workspace AND revoked_at IS NULL;

-- name: first_key
-- Which key a node began with last time.
SELECT key FROM first_keys WHERE node = :node;

-- name: put_first_key
-- The key that a node begins with now.
INSERT INTO first_keys (node, key) VALUES (:node, :id) ON CONFLICT (node) DO UPDATE SET key = excluded.key;

-- name: drop_replaced_key
-- Forget a first key that nobody begins with any more. One that was revoked stays, so that it stays revoked.
DELETE FROM api_keys
WHERE id = :former AND revoked_at IS NULL AND NOT EXISTS (SELECT 1 FROM first_keys WHERE key = :former);

-- name: access_revision
-- How often keys have stopped to be valid.
SELECT revision FROM access_revision;

-- name: raise_access_revision
-- Beside each change that makes a key worthless.
INSERT INTO access_revision (id, revision) VALUES (1, 1)
ON CONFLICT (id) DO UPDATE SET revision = access_revision.revision + 1;
