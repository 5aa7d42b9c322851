-- Which file a path of a session's outputs folder became.

CREATE TABLE outputs (
    workspace text COLLATE "C" NOT NULL,
    session text COLLATE "C" NOT NULL,
    path text COLLATE "C" NOT NULL,
    file text COLLATE "C" NOT NULL,
    mark text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL,
    PRIMARY KEY (workspace, session, path)
);
