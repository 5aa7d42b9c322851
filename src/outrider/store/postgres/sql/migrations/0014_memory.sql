-- Memory stores: memories by path, and one row for each change of one.

CREATE TABLE memory_stores (
    workspace text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    created_at text COLLATE "C" NOT NULL,
    updated_at text COLLATE "C" NOT NULL,
    archived_at text COLLATE "C",
    body bytea NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX memory_stores_by_time ON memory_stores (workspace, created_at, id);

CREATE TABLE memories (
    workspace text COLLATE "C" NOT NULL,
    store text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    path text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    sha256 text COLLATE "C" NOT NULL,
    size bigint NOT NULL,
    created_at text COLLATE "C" NOT NULL,
    updated_at text COLLATE "C" NOT NULL,
    PRIMARY KEY (workspace, store, id)
);
CREATE UNIQUE INDEX memories_by_path ON memories (workspace, store, path);

CREATE TABLE memory_versions (
    workspace text COLLATE "C" NOT NULL,
    store text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    memory text COLLATE "C" NOT NULL,
    operation text COLLATE "C" NOT NULL,
    path text COLLATE "C",
    content bytea,
    sha256 text COLLATE "C",
    size bigint,
    created_at text COLLATE "C" NOT NULL,
    actor_type text COLLATE "C" NOT NULL,
    actor text COLLATE "C" NOT NULL,
    redacted_at text COLLATE "C",
    redactor_type text COLLATE "C",
    redactor text COLLATE "C",
    PRIMARY KEY (workspace, store, id)
);
CREATE INDEX memory_versions_by_time ON memory_versions (workspace, store, created_at, id);
CREATE INDEX memory_versions_by_memory ON memory_versions (workspace, store, memory, created_at, id);
