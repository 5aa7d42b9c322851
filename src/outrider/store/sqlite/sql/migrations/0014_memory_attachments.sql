-- Which sessions have which memory stores. Written before a session is, and erased with it.
CREATE TABLE memory_attachments (
    workspace TEXT NOT NULL,
    store TEXT NOT NULL,
    session TEXT NOT NULL,
    created_at TEXT NOT NULL,
    erased_at TEXT,
    PRIMARY KEY (workspace, store, session)
);
CREATE INDEX memory_attachments_by_session ON memory_attachments (workspace, session);
