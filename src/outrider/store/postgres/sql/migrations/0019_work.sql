-- The work queues of self-hosted environments, and when which worker last asked. A session has one item that isn't
-- stopped at most.
CREATE TABLE work_items (
    workspace text COLLATE "C" NOT NULL,
    environment text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    session text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    round bigint NOT NULL,
    beats bigint NOT NULL,
    ttl bigint NOT NULL,
    tries bigint NOT NULL,
    metadata text COLLATE "C" NOT NULL,
    created_at text COLLATE "C" NOT NULL,
    queued_at text COLLATE "C" NOT NULL,
    acknowledged_at text COLLATE "C",
    started_at text COLLATE "C",
    heartbeat text COLLATE "C",
    expected text COLLATE "C",
    stop_requested_at text COLLATE "C",
    stopped_at text COLLATE "C",
    token text COLLATE "C",
    PRIMARY KEY (workspace, environment, id)
);
CREATE UNIQUE INDEX work_items_of_session ON work_items (workspace, session) WHERE state <> 'stopped';
CREATE UNIQUE INDEX work_items_by_token ON work_items (token) WHERE token IS NOT NULL;
CREATE INDEX work_items_by_time ON work_items (workspace, environment, created_at, id);
CREATE INDEX work_items_waiting ON work_items (workspace, environment, queued_at, id) WHERE state <> 'stopped';
CREATE INDEX work_items_erased ON work_items (workspace, session);

CREATE TABLE work_pollers (
    workspace text COLLATE "C" NOT NULL,
    environment text COLLATE "C" NOT NULL,
    worker text COLLATE "C" NOT NULL,
    seen_at text COLLATE "C" NOT NULL,
    PRIMARY KEY (workspace, environment, worker)
);
