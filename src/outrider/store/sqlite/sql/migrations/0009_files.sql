-- Files, bytes that are being written for one, and what a workspace's files hold together.

CREATE TABLE files (
    workspace TEXT NOT NULL,
    id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT,
    session TEXT,
    filename TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    downloadable INTEGER NOT NULL,
    counted INTEGER NOT NULL,
    blob TEXT,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX files_by_time ON files (workspace, created_at, id);
CREATE INDEX files_of_session ON files (workspace, session, created_at, id) WHERE session IS NOT NULL;
CREATE INDEX files_by_blob ON files (workspace, blob) WHERE blob IS NOT NULL;
CREATE INDEX files_that_expire ON files (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE announced_files (
    workspace TEXT NOT NULL,
    id TEXT NOT NULL,
    at TEXT NOT NULL,
    abandoned INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace, id)
);

CREATE TABLE storage (
    workspace TEXT NOT NULL PRIMARY KEY,
    bytes INTEGER NOT NULL
);
