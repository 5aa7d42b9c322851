-- The first schema. `log` is a session's number inside this database, never used twice. Text compares byte by byte
-- (collation "C"), so that ids and times sort as they do in the embedded store.

CREATE TABLE workspaces (
    id text COLLATE "C" PRIMARY KEY,
    is_default boolean NOT NULL
);
CREATE UNIQUE INDEX workspaces_default ON workspaces (is_default) WHERE is_default;

-- One small row a session: the only place where `seq` is handed out and epochs are compared. Room is left in each page
-- and no index covers a column that changes, so an update stays in its page.
CREATE TABLE heads (
    log bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace text COLLATE "C" NOT NULL,
    session text COLLATE "C" NOT NULL,
    head bigint NOT NULL,
    writer_head bigint NOT NULL,
    epoch bigint NOT NULL
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX heads_by_session ON heads (workspace, session);

CREATE TABLE events (
    log bigint NOT NULL,
    seq bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    workspace text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    thread text COLLATE "C" NOT NULL,
    public boolean NOT NULL,
    epoch bigint NOT NULL,
    processed_at text COLLATE "C",
    processes text COLLATE "C",
    body bytea NOT NULL,
    PRIMARY KEY (log, seq),
    UNIQUE (id, log),
    CHECK (processes IS NULL OR (NOT public AND processed_at IS NOT NULL))
) PARTITION BY HASH (log);

DO $$
BEGIN
    FOR part IN 0..63 LOOP
        EXECUTE format(
            'CREATE TABLE events_%s PARTITION OF events FOR VALUES WITH (MODULUS 64, REMAINDER %s)', part, part
        );
    END LOOP;
END
$$;

-- Where events that waited stand in the history; all other public events stand at their own seq. One that still waits
-- stands at 2^52 + seq: after all others, in order of arrival. (2^52 keeps a position exact in a JSON number.)
CREATE TABLE history (
    log bigint NOT NULL,
    position bigint NOT NULL,
    seq bigint NOT NULL,
    event text COLLATE "C" NOT NULL,
    workspace text COLLATE "C" NOT NULL,
    processed_at text COLLATE "C",
    PRIMARY KEY (log, position)
);

-- Only sessions that wait for an owner (worker NULL) or have one. `since` counts, it is no time; a batch takes a stretch
-- of the sequence, and gives its wakes their places in it.
CREATE TABLE wakes (
    log bigint PRIMARY KEY,
    workspace text COLLATE "C" NOT NULL,
    since bigint NOT NULL,
    worker text COLLATE "C"
) WITH (fillfactor = 50);
CREATE INDEX wakes_waiting ON wakes (workspace, since) WHERE worker IS NULL;
CREATE INDEX wakes_by_since ON wakes (since) WHERE worker IS NULL;
CREATE INDEX wakes_owned ON wakes (worker) WHERE worker IS NOT NULL;
CREATE SEQUENCE wakes_since INCREMENT BY 1024;

-- When a workspace last had its turn at a claim; `served` counts.
CREATE TABLE turns (
    workspace text COLLATE "C" PRIMARY KEY,
    served bigint NOT NULL
) WITH (fillfactor = 50);
CREATE SEQUENCE turns_served;

-- Who works on this store. `beats` only counts; a buried worker stays as a mark, one short row a process ever started.
CREATE TABLE workers (
    worker text COLLATE "C" PRIMARY KEY,
    beats bigint NOT NULL,
    buried boolean NOT NULL
) WITH (fillfactor = 50);

-- The last batch of each process that writes and what it was answered, written with the batch: a process whose connection
-- broke at COMMIT learns here what came of it.
CREATE TABLE writers (
    writer text COLLATE "C" PRIMARY KEY,
    since timestamptz NOT NULL DEFAULT now(),
    batch bigint NOT NULL,
    verdicts smallint[],
    heads bigint[],
    writer_heads bigint[],
    epochs bigint[],
    claimed boolean[],
    answer text
) WITH (fillfactor = 10);

CREATE TABLE snapshots (
    log bigint PRIMARY KEY,
    workspace text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    version bigint NOT NULL,
    body bytea NOT NULL
);

CREATE TABLE sessions (
    log bigint PRIMARY KEY,
    workspace text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    thread text COLLATE "C" NOT NULL,
    agent_id text COLLATE "C" NOT NULL,
    agent_version bigint NOT NULL,
    environment_id text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    created_at text COLLATE "C" NOT NULL,
    updated_at text COLLATE "C" NOT NULL,
    archived_at text COLLATE "C",
    agent bytea NOT NULL,
    details bytea NOT NULL,
    usage bytea NOT NULL,
    stats bytea NOT NULL
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX sessions_by_id ON sessions (workspace, id);
CREATE INDEX sessions_by_time ON sessions (workspace, created_at, id);
CREATE INDEX sessions_by_environment ON sessions (workspace, environment_id);

CREATE TABLE agents (
    workspace text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    latest bigint NOT NULL,
    created_at text COLLATE "C" NOT NULL,
    archived_at text COLLATE "C",
    PRIMARY KEY (workspace, id)
);
CREATE INDEX agents_by_time ON agents (workspace, created_at, id);

CREATE TABLE agent_versions (
    workspace text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    created_at text COLLATE "C" NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (workspace, id, version)
);

CREATE TABLE environments (
    workspace text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    created_at text COLLATE "C" NOT NULL,
    archived_at text COLLATE "C",
    body bytea NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX environments_by_time ON environments (workspace, created_at, id);

CREATE TABLE api_keys (
    id text COLLATE "C" PRIMARY KEY,
    workspace text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL UNIQUE,
    name text COLLATE "C" NOT NULL,
    created_at text COLLATE "C" NOT NULL,
    revoked_at text COLLATE "C"
);

CREATE TABLE answers (
    workspace text COLLATE "C" NOT NULL,
    idempotency text COLLATE "C" NOT NULL,
    at text COLLATE "C" NOT NULL,
    status bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (workspace, idempotency)
);
CREATE INDEX answers_by_time ON answers (at);
