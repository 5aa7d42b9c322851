-- Dreams: sessions that write a memory store anew from what other sessions did.

CREATE TABLE dreams (
    workspace TEXT NOT NULL,
    id TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at TEXT NOT NULL,
    source TEXT NOT NULL,
    output TEXT NOT NULL,
    session TEXT NOT NULL,
    body BLOB NOT NULL,
    begun_at TEXT,
    opened_at TEXT,
    outcome TEXT,
    ended_at TEXT,
    settled_at TEXT,
    archived_at TEXT,
    error BLOB,
    usage BLOB,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX dreams_by_time ON dreams (workspace, created_at, id);
CREATE INDEX dreams_by_session ON dreams (workspace, session) WHERE settled_at IS NOT NULL;
CREATE INDEX dreams_unsettled ON dreams (created_at, id) WHERE settled_at IS NULL;
