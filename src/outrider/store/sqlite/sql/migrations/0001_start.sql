-- The first schema. `log` is a session's number inside this file: short in every index, meaningless outside.

CREATE TABLE workspaces (
    id TEXT PRIMARY KEY,
    is_default INTEGER NOT NULL
);
CREATE UNIQUE INDEX workspaces_default ON workspaces (is_default) WHERE is_default = 1;

-- One small row a session: the only place where `seq` is handed out and epochs are compared.
CREATE TABLE heads (
    log INTEGER PRIMARY KEY,
    workspace TEXT NOT NULL,
    session TEXT NOT NULL,
    head INTEGER NOT NULL,
    writer_head INTEGER NOT NULL,
    epoch INTEGER NOT NULL
);
CREATE UNIQUE INDEX heads_by_session ON heads (workspace, session);

CREATE TABLE events (
    log INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    workspace TEXT NOT NULL,
    type TEXT NOT NULL,
    thread TEXT NOT NULL,
    public INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    processed_at TEXT,
    processes TEXT,
    body BLOB NOT NULL,
    CHECK (processes IS NULL OR (public = 0 AND processed_at IS NOT NULL))
);
CREATE UNIQUE INDEX events_by_seq ON events (log, seq);
-- Ids grow with time, so with the id in front the new entries of all sessions share a few pages.
CREATE UNIQUE INDEX events_by_id ON events (id, log);

-- Where events that waited stand in the history; all other public events stand at their own seq. One that still waits
-- stands at 2^52 + seq: after all others, in order of arrival. (2^52 keeps a position exact in a JSON number.)
CREATE TABLE history (
    log INTEGER NOT NULL,
    position INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    workspace TEXT NOT NULL,
    processed_at TEXT,
    PRIMARY KEY (log, position)
) WITHOUT ROWID;

CREATE TRIGGER history_wait AFTER INSERT ON events WHEN NEW.public = 1 AND NEW.processed_at IS NULL
BEGIN
    INSERT INTO history (log, position, seq, workspace)
    VALUES (NEW.log, 4503599627370496 + NEW.seq, NEW.seq, NEW.workspace);
END;

-- Finds nothing, and so changes nothing, when the event never waited or has been taken up before.
CREATE TRIGGER history_take_up AFTER INSERT ON events WHEN NEW.processes IS NOT NULL
BEGIN
    UPDATE history SET position = NEW.seq, processed_at = NEW.processed_at
    WHERE log = NEW.log
      AND position = 4503599627370496 + (SELECT seq FROM events WHERE id = NEW.processes AND log = NEW.log);
END;

-- Only sessions that wait for an owner (worker NULL) or have one. `since` counts, it is no time.
CREATE TABLE wakes (
    log INTEGER PRIMARY KEY,
    workspace TEXT NOT NULL,
    since INTEGER NOT NULL,
    worker TEXT
);
CREATE INDEX wakes_by_since ON wakes (since);
CREATE INDEX wakes_waiting ON wakes (workspace, since) WHERE worker IS NULL;
CREATE INDEX wakes_owned ON wakes (worker) WHERE worker IS NOT NULL;

-- When a workspace last had its turn at a claim; `served` counts.
CREATE TABLE turns (
    workspace TEXT PRIMARY KEY,
    served INTEGER NOT NULL
);

CREATE TABLE snapshots (
    log INTEGER PRIMARY KEY,
    workspace TEXT NOT NULL,
    seq INTEGER NOT NULL,
    version INTEGER NOT NULL,
    body BLOB NOT NULL
);

CREATE TABLE sessions (
    log INTEGER PRIMARY KEY,
    workspace TEXT NOT NULL,
    id TEXT NOT NULL,
    thread TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    agent_version INTEGER NOT NULL,
    environment_id TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    archived_at TEXT,
    agent BLOB NOT NULL,
    details BLOB NOT NULL,
    usage BLOB NOT NULL,
    stats BLOB NOT NULL
);
CREATE UNIQUE INDEX sessions_by_id ON sessions (workspace, id);
CREATE INDEX sessions_by_time ON sessions (workspace, created_at, id);
CREATE INDEX sessions_by_environment ON sessions (workspace, environment_id);

CREATE TABLE agents (
    workspace TEXT NOT NULL,
    id TEXT NOT NULL,
    latest INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    archived_at TEXT,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX agents_by_time ON agents (workspace, created_at, id);

CREATE TABLE agent_versions (
    workspace TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (workspace, id, version)
);

CREATE TABLE environments (
    workspace TEXT NOT NULL,
    id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    archived_at TEXT,
    body BLOB NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX environments_by_time ON environments (workspace, created_at, id);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at TEXT NOT NULL,
    revoked_at TEXT
);

CREATE TABLE answers (
    workspace TEXT NOT NULL,
    idempotency TEXT NOT NULL,
    at TEXT NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (workspace, idempotency)
);
CREATE INDEX answers_by_time ON answers (at);
