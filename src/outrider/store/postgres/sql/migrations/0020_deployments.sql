-- Deployments, and one row for each run of one.

CREATE TABLE deployments (
    workspace text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    agent_id text COLLATE "C" NOT NULL,
    revision bigint NOT NULL,
    created_at text COLLATE "C" NOT NULL,
    updated_at text COLLATE "C" NOT NULL,
    archived_at text COLLATE "C",
    paused bytea,
    next_at text COLLATE "C",
    last_run_at text COLLATE "C",
    body bytea NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX deployments_by_time ON deployments (workspace, created_at, id);
CREATE INDEX deployments_by_agent ON deployments (workspace, agent_id);
CREATE INDEX deployments_due ON deployments (next_at, id) WHERE next_at IS NOT NULL;

CREATE TABLE deployment_runs (
    workspace text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    deployment text COLLATE "C" NOT NULL,
    trigger_type text COLLATE "C" NOT NULL,
    scheduled_at text COLLATE "C",
    created_at text COLLATE "C" NOT NULL,
    agent_id text COLLATE "C" NOT NULL,
    agent_version bigint NOT NULL,
    session text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    error bytea,
    asked text COLLATE "C",
    PRIMARY KEY (workspace, id)
);
CREATE UNIQUE INDEX deployment_runs_once ON deployment_runs (workspace, deployment, scheduled_at);
CREATE INDEX deployment_runs_by_time ON deployment_runs (workspace, created_at, id);
CREATE INDEX deployment_runs_by_deployment ON deployment_runs (workspace, deployment, created_at, id);
CREATE INDEX deployment_runs_asked ON deployment_runs (workspace, asked, created_at) WHERE asked IS NOT NULL;
CREATE INDEX deployment_runs_pending ON deployment_runs (created_at, id) WHERE outcome = 'pending';
