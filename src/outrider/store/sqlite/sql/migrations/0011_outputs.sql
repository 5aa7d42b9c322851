-- Which file a path of a session's outputs folder became.

CREATE TABLE outputs (
    workspace TEXT NOT NULL,
    session TEXT NOT NULL,
    path TEXT NOT NULL,
    file TEXT NOT NULL,
    mark TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (workspace, session, path)
);
