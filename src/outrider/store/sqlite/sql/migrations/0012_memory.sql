-- Memory stores: memories by path, and one row for each change of one.

CREATE TABLE memory_stores (
    workspace TEXT NOT NULL,
    id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    archived_at TEXT,
    body BLOB NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX memory_stores_by_time ON memory_stores (workspace, created_at, id);

CREATE TABLE memories (
    workspace TEXT NOT NULL,
    store TEXT NOT NULL,
    id TEXT NOT NULL,
    path TEXT NOT NULL,
    version TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (workspace, store, id)
);
CREATE UNIQUE INDEX memories_by_path ON memories (workspace, store, path);

CREATE TABLE memory_versions (
    workspace TEXT NOT NULL,
    store TEXT NOT NULL,
    id TEXT NOT NULL,
    memory TEXT NOT NULL,
    operation TEXT NOT NULL,
    path TEXT,
    content BLOB,
    sha256 TEXT,
    size INTEGER,
    created_at TEXT NOT NULL,
    actor_type TEXT NOT NULL,
    actor TEXT NOT NULL,
    redacted_at TEXT,
    redactor_type TEXT,
    redactor TEXT,
    PRIMARY KEY (workspace, store, id)
);
CREATE INDEX memory_versions_by_time ON memory_versions (workspace, store, created_at, id);
CREATE INDEX memory_versions_by_memory ON memory_versions (workspace, store, memory, created_at, id);
