-- name: session
-- One session's record.
SELECT workspace, id, thread, agent_id, agent_version, environment_id, status, created_at, updated_at,
       archived_at, agent, details, usage, stats
FROM sessions WHERE workspace = :workspace AND id = :session;

-- name: sessions_both_ways
-- A page of a workspace's sessions.
SELECT workspace, id, thread, agent_id, agent_version, environment_id, status, created_at, updated_at,
       archived_at, agent, details, usage, stats
FROM sessions
WHERE workspace = :workspace AND (created_at, id) < (:after_time, :after_id)
  AND (:archived::boolean OR archived_at IS NULL)
  AND created_at > :gt AND created_at >= :gte AND created_at < :lt AND created_at <= :lte
  AND (:agent_id::text IS NULL OR agent_id = :agent_id)
  AND (:agent_version::bigint IS NULL OR agent_version = :agent_version)
  AND (:statuses::text[] IS NULL OR status = ANY (:statuses))
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: sessions_of_memory_store_both_ways
-- A page of the sessions that a memory store was attached to.
SELECT workspace, id, thread, agent_id, agent_version, environment_id, status, created_at, updated_at,
       archived_at, agent, details, usage, stats
FROM sessions
WHERE workspace = :workspace AND (created_at, id) < (:after_time, :after_id)
  AND (:archived::boolean OR archived_at IS NULL)
  AND created_at > :gt AND created_at >= :gte AND created_at < :lt AND created_at <= :lte
  AND (:agent_id::text IS NULL OR agent_id = :agent_id)
  AND (:agent_version::bigint IS NULL OR agent_version = :agent_version)
  AND (:statuses::text[] IS NULL OR status = ANY (:statuses))
  AND id IN (SELECT session FROM memory_attachments a WHERE a.workspace = :workspace AND a.store = :memory_store)
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: sessions_of_agent_both_ways
-- A page of one agent's sessions: they may be few among many.
SELECT workspace, id, thread, agent_id, agent_version, environment_id, status, created_at, updated_at,
       archived_at, agent, details, usage, stats
FROM sessions
WHERE workspace = :workspace AND (created_at, id) < (:after_time, :after_id)
  AND (:archived::boolean OR archived_at IS NULL)
  AND created_at > :gt AND created_at >= :gte AND created_at < :lt AND created_at <= :lte
  AND agent_id = :agent_id
  AND (:agent_version::bigint IS NULL OR agent_version = :agent_version)
  AND (:statuses::text[] IS NULL OR status = ANY (:statuses))
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: sessions_of_deployment_both_ways
-- A page of the sessions that a deployment made.
SELECT workspace, id, thread, agent_id, agent_version, environment_id, status, created_at, updated_at,
       archived_at, agent, details, usage, stats
FROM sessions
WHERE workspace = :workspace AND (created_at, id) < (:after_time, :after_id)
  AND (:archived::boolean OR archived_at IS NULL)
  AND created_at > :gt AND created_at >= :gte AND created_at < :lt AND created_at <= :lte
  AND (CAST(:agent_id AS text) IS NULL OR agent_id = :agent_id)
  AND id IN (SELECT session FROM deployment_runs
             WHERE workspace = :workspace AND deployment = :deployment_id AND outcome <> 'failed')
  AND (CAST(:memory_store AS text) IS NULL OR id IN (
      SELECT session FROM memory_attachments a WHERE a.workspace = :workspace AND a.store = :memory_store))
  AND (:agent_version::bigint IS NULL OR agent_version = :agent_version)
  AND (:statuses::text[] IS NULL OR status = ANY (:statuses))
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: sessions_not_idle_both_ways
-- A page of the sessions in a status other than idle: few among many, they have an index of their own.
SELECT workspace, id, thread, agent_id, agent_version, environment_id, status, created_at, updated_at,
       archived_at, agent, details, usage, stats
FROM sessions
WHERE workspace = :workspace AND (created_at, id) < (:after_time, :after_id)
  AND (:archived::boolean OR archived_at IS NULL)
  AND created_at > :gt AND created_at >= :gte AND created_at < :lt AND created_at <= :lte
  AND (:agent_id::text IS NULL OR agent_id = :agent_id)
  AND (:agent_version::bigint IS NULL OR agent_version = :agent_version)
  AND status = :status AND status <> 'idle'
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: living
-- Which of these are stored, whatever their workspaces, but not of dreams that are over.
SELECT s.id FROM sessions s WHERE s.id = ANY (:ids::text[])
  AND NOT EXISTS (
    SELECT 1 FROM dreams d
    WHERE d.workspace = s.workspace AND d.session = s.id AND d.settled_at IS NOT NULL
  );

-- name: places
-- The hosts of these.
SELECT session, host FROM placements WHERE session = ANY (:ids::text[]);

-- name: has_sessions
-- One of the stored sessions.
SELECT 1 AS found FROM sessions LIMIT 1;

-- name: uses_skill
-- A session of an environment whose agent names a skill like that.
SELECT 1 FROM sessions
WHERE workspace = :workspace AND environment_id = :environment_id
  AND position(convert_to(CAST(:named AS text), 'UTF8') IN agent) > 0
LIMIT 1;

-- name: erase_session
-- The record itself.
DELETE FROM sessions WHERE log = :log;

-- name: erase_snapshot
-- Its folded state.
DELETE FROM snapshots WHERE log = :log;

-- name: erase_wake
-- Its place in the queue, or its owner's.
DELETE FROM wakes WHERE log = :log;

-- name: erase_history
-- Its history.
DELETE FROM history WHERE log = :log;

-- name: erase_events
-- Its rows.
DELETE FROM events WHERE log = :log;

-- name: erase_head
-- Its counters.
DELETE FROM heads WHERE log = :log;
