-- The work queues of self-hosted environments, and when which worker last asked. A session has one item that isn't
-- stopped at most.
CREATE TABLE work_items (
    workspace TEXT NOT NULL,
    environment TEXT NOT NULL,
    id TEXT NOT NULL,
    session TEXT NOT NULL,
    state TEXT NOT NULL,
    round INTEGER NOT NULL,
    beats INTEGER NOT NULL,
    ttl INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    created_at TEXT NOT NULL,
    queued_at TEXT NOT NULL,
    acknowledged_at TEXT,
    started_at TEXT,
    heartbeat TEXT,
    expected TEXT,
    stop_requested_at TEXT,
    stopped_at TEXT,
    token TEXT,
    PRIMARY KEY (workspace, environment, id)
);
CREATE UNIQUE INDEX work_items_of_session ON work_items (workspace, session) WHERE state <> 'stopped';
CREATE UNIQUE INDEX work_items_by_token ON work_items (token) WHERE token IS NOT NULL;
CREATE INDEX work_items_by_time ON work_items (workspace, environment, created_at, id);
CREATE INDEX work_items_waiting ON work_items (workspace, environment, queued_at, id) WHERE state <> 'stopped';
CREATE INDEX work_items_erased ON work_items (workspace, session);

CREATE TABLE work_pollers (
    workspace TEXT NOT NULL,
    environment TEXT NOT NULL,
    worker TEXT NOT NULL,
    seen_at TEXT NOT NULL,
    PRIMARY KEY (workspace, environment, worker)
);
