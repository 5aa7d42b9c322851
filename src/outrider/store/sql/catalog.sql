-- name: insert_agent
-- A new agent, at its first version.
INSERT INTO agents (workspace, id, latest, created_at, archived_at)
VALUES (:workspace, :id, :version, :created_at, :archived_at)
ON CONFLICT (workspace, id) DO NOTHING;

-- name: advance_agent
-- Make a version the latest, if the latest is the expected one.
UPDATE agents SET latest = :version, created_at = :created_at
WHERE workspace = :workspace AND id = :id AND latest = :if_version AND latest < :version AND archived_at IS NULL;

-- name: insert_agent_version
-- The version itself; it never changes.
INSERT INTO agent_versions (workspace, id, version, created_at, body)
VALUES (:workspace, :id, :version, :created_at, :body);

-- name: agent
-- One version of an agent, or (NULL) the latest.
SELECT v.workspace, v.id, v.version, v.created_at, a.archived_at, v.body
FROM agents a JOIN agent_versions v ON v.workspace = a.workspace AND v.id = a.id
WHERE a.workspace = :workspace AND a.id = :id AND v.version = coalesce(CAST(:version AS bigint), a.latest);

-- name: agents_both_ways
-- A page of a workspace's agents, each at its latest version.
SELECT v.workspace, v.id, v.version, v.created_at, a.archived_at, v.body
FROM agents a JOIN agent_versions v ON v.workspace = a.workspace AND v.id = a.id AND v.version = a.latest
WHERE a.workspace = :workspace AND (a.created_at, a.id) < (:after_time, :after_id)
  AND (CAST(:archived AS boolean) OR a.archived_at IS NULL)
  AND a.created_at > :gt AND a.created_at >= :gte AND a.created_at < :lt AND a.created_at <= :lte
ORDER BY a.created_at DESC, a.id DESC LIMIT :limit;

-- name: agent_versions
-- An agent's versions, newest first.
SELECT v.workspace, v.id, v.version, v.created_at, a.archived_at, v.body
FROM agents a JOIN agent_versions v ON v.workspace = a.workspace AND v.id = a.id
WHERE a.workspace = :workspace AND a.id = :id AND (CAST(:before AS bigint) IS NULL OR v.version < :before)
ORDER BY v.version DESC LIMIT :limit;

-- name: archive_agent
-- Archive an agent, once.
UPDATE agents SET archived_at = :at WHERE workspace = :workspace AND id = :id AND archived_at IS NULL;

-- name: insert_environment
-- A new environment.
INSERT INTO environments (workspace, id, created_at, archived_at, body)
VALUES (:workspace, :id, :created_at, :archived_at, :body)
ON CONFLICT (workspace, id) DO NOTHING;

-- name: update_environment
-- Its new state, if it is as it was read. What is archived never changes again.
UPDATE environments SET archived_at = :archived_at, body = :body
WHERE workspace = :workspace AND id = :id AND archived_at IS NULL AND body = :if_body;

-- name: environment
-- One environment.
SELECT workspace, id, created_at, archived_at, body FROM environments WHERE workspace = :workspace AND id = :id;

-- name: environments_both_ways
-- A page of a workspace's environments.
SELECT workspace, id, created_at, archived_at, body FROM environments
WHERE workspace = :workspace AND (created_at, id) < (:after_time, :after_id)
  AND (CAST(:archived AS boolean) OR archived_at IS NULL)
  AND created_at > :gt AND created_at >= :gte AND created_at < :lt AND created_at <= :lte
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: environment_in_use
-- Whether a session refers to an environment.
SELECT 1 AS found FROM sessions WHERE workspace = :workspace AND environment_id = :id LIMIT 1;

-- name: delete_environment
-- Forget an environment.
DELETE FROM environments WHERE workspace = :workspace AND id = :id;
