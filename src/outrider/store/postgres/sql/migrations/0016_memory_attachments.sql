-- Which sessions have which memory stores. Written before a session is, and erased with it.
CREATE TABLE memory_attachments (
    workspace text NOT NULL,
    store text NOT NULL,
    session text NOT NULL,
    created_at text NOT NULL,
    erased_at text,
    PRIMARY KEY (workspace, store, session)
);
CREATE INDEX memory_attachments_by_session ON memory_attachments (workspace, session);
