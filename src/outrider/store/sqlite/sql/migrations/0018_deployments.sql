-- Deployments, and one row for each run of one.

CREATE TABLE deployments (
    workspace TEXT NOT NULL,
    id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    archived_at TEXT,
    paused BLOB,
    next_at TEXT,
    last_run_at TEXT,
    body BLOB NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX deployments_by_time ON deployments (workspace, created_at, id);
CREATE INDEX deployments_by_agent ON deployments (workspace, agent_id);
CREATE INDEX deployments_due ON deployments (next_at, id) WHERE next_at IS NOT NULL;

CREATE TABLE deployment_runs (
    workspace TEXT NOT NULL,
    id TEXT NOT NULL,
    deployment TEXT NOT NULL,
    trigger_type TEXT NOT NULL,
    scheduled_at TEXT,
    created_at TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    agent_version INTEGER NOT NULL,
    session TEXT NOT NULL,
    outcome TEXT NOT NULL,
    error BLOB,
    asked TEXT,
    PRIMARY KEY (workspace, id)
);
CREATE UNIQUE INDEX deployment_runs_once ON deployment_runs (workspace, deployment, scheduled_at);
CREATE INDEX deployment_runs_by_time ON deployment_runs (workspace, created_at, id);
CREATE INDEX deployment_runs_by_deployment ON deployment_runs (workspace, deployment, created_at, id);
CREATE INDEX deployment_runs_asked ON deployment_runs (workspace, asked, created_at) WHERE asked IS NOT NULL;
CREATE INDEX deployment_runs_pending ON deployment_runs (created_at, id) WHERE outcome = 'pending';
