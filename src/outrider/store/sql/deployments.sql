-- name: insert_deployment
-- A new deployment.
INSERT INTO deployments (workspace, id, agent_id, revision, created_at, updated_at, archived_at, paused, next_at,
    last_run_at, body)
VALUES (:workspace, :id, :agent_id, :revision, :created_at, :updated_at, :archived_at, :paused, :next_at,
    :last_run_at, :body);

-- name: deployment
-- One deployment.
SELECT workspace, id, agent_id, revision, created_at, updated_at, archived_at, paused, next_at, last_run_at, body
FROM deployments WHERE workspace = :workspace AND id = :id;

-- name: deployments_both_ways
-- A page of a workspace's deployments.
SELECT workspace, id, agent_id, revision, created_at, updated_at, archived_at, paused, next_at, last_run_at, body
FROM deployments
WHERE workspace = :workspace AND (created_at, id) < (:after_time, :after_id)
  AND (CAST(:archived AS boolean) OR archived_at IS NULL)
  AND (CAST(:agent_id AS text) IS NULL OR agent_id = :agent_id)
  AND (CAST(:is_paused AS boolean) IS NULL OR (paused IS NOT NULL) = CAST(:is_paused AS boolean))
  AND created_at > :gt AND created_at >= :gte AND created_at < :lt AND created_at <= :lte
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: update_deployment
-- What clients may change, if it is as they saw it.
UPDATE deployments
SET agent_id = :agent_id, revision = :revision, updated_at = :updated_at, archived_at = :archived_at,
    paused = :paused, next_at = :next_at, body = :body
WHERE workspace = :workspace AND id = :id AND archived_at IS NULL AND revision = :if_revision;

-- name: scheduled_deployments
-- How many others of a workspace fire by themselves.
SELECT count(*) AS found FROM deployments WHERE workspace = :workspace AND id <> :id AND next_at IS NOT NULL;

-- name: deployments_due
-- Those whose time has come, in all workspaces.
SELECT workspace, id, agent_id, revision, created_at, updated_at, archived_at, paused, next_at, last_run_at, body
FROM deployments WHERE next_at <= :now ORDER BY next_at, id LIMIT :limit;

-- name: advance_deployment
-- Let a deployment wait for its next time, if it still waits for this one.
UPDATE deployments SET next_at = :next_at, revision = revision + 1
WHERE workspace = :workspace AND id = :id AND next_at = :due;

-- name: pause_deployment
-- By its own failure.
UPDATE deployments SET paused = :paused, next_at = NULL, updated_at = :at, revision = revision + 1
WHERE workspace = :workspace AND id = :id AND paused IS NULL AND archived_at IS NULL;

-- name: note_run
-- When the schedule last made a session.
UPDATE deployments SET last_run_at = :at, revision = revision + 1
WHERE workspace = :workspace AND id = :id AND (last_run_at IS NULL OR last_run_at < :at);

-- name: deployments_of_agent
-- Those of an agent that are not archived.
SELECT id FROM deployments WHERE workspace = :workspace AND agent_id = :agent_id AND archived_at IS NULL ORDER BY id;

-- name: archive_deployment
-- With its agent.
UPDATE deployments
SET archived_at = :at, updated_at = :at, paused = NULL, next_at = NULL, revision = revision + 1
WHERE workspace = :workspace AND id = :id AND archived_at IS NULL;

-- name: insert_run
-- A new run; there is one for each scheduled time.
INSERT INTO deployment_runs (workspace, id, deployment, trigger_type, scheduled_at, created_at, agent_id,
    agent_version, session, outcome, error, asked)
VALUES (:workspace, :id, :deployment, :trigger, :scheduled_at, :created_at, :agent_id,
    :agent_version, :session, :outcome, :error, :asked)
ON CONFLICT (workspace, deployment, scheduled_at) DO NOTHING;

-- name: run
-- One run.
SELECT workspace, id, deployment, trigger_type, scheduled_at, created_at, agent_id, agent_version, session, outcome,
    error, asked
FROM deployment_runs WHERE workspace = :workspace AND id = :id;

-- name: run_asked
-- The last one that a request asked for.
SELECT workspace, id, deployment, trigger_type, scheduled_at, created_at, agent_id, agent_version, session, outcome,
    error, asked
FROM deployment_runs WHERE workspace = :workspace AND asked = :asked AND created_at >= :not_before
ORDER BY created_at DESC, id DESC LIMIT 1;

-- name: runs
-- A page of a workspace's runs, newest first.
SELECT workspace, id, deployment, trigger_type, scheduled_at, created_at, agent_id, agent_version, session, outcome,
    error, asked
FROM deployment_runs
WHERE workspace = :workspace AND (created_at, id) < (:after_time, :after_id) AND outcome <> 'pending'
  AND (CAST(:deployment AS text) IS NULL OR deployment = :deployment)
  AND (CAST(:outcome AS text) IS NULL OR outcome = :outcome)
  AND (CAST(:trigger AS text) IS NULL OR trigger_type = :trigger)
  AND created_at > :gt AND created_at >= :gte AND created_at < :lt AND created_at <= :lte
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: pending_runs
-- Those without an outcome, in all workspaces.
SELECT workspace, id, deployment, trigger_type, scheduled_at, created_at, agent_id, agent_version, session, outcome,
    error, asked
FROM deployment_runs WHERE outcome = 'pending' ORDER BY created_at, id LIMIT :limit;

-- name: end_run
-- Its outcome, once.
UPDATE deployment_runs SET outcome = :outcome, error = :error
WHERE workspace = :workspace AND id = :id AND outcome = 'pending';
