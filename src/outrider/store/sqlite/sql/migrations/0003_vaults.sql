-- Vaults and their credentials, without any secret, and a row for each change of one.

CREATE TABLE vaults (
    workspace TEXT NOT NULL,
    id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    archived_at TEXT,
    body BLOB NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX vaults_by_time ON vaults (workspace, created_at, id);

CREATE TABLE credentials (
    workspace TEXT NOT NULL,
    vault TEXT NOT NULL,
    id TEXT NOT NULL,
    place TEXT NOT NULL,
    revision INTEGER NOT NULL,
    secret INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    archived_at TEXT,
    body BLOB NOT NULL,
    PRIMARY KEY (workspace, vault, id)
);
CREATE INDEX credentials_by_time ON credentials (workspace, vault, created_at, id);
CREATE UNIQUE INDEX credentials_by_place ON credentials (workspace, vault, place) WHERE archived_at IS NULL;

CREATE TABLE changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace TEXT NOT NULL,
    type TEXT NOT NULL,
    object TEXT NOT NULL,
    at TEXT NOT NULL,
    vault TEXT
);
