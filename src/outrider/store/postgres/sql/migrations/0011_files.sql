-- Files, bytes that are being written for one, and what a workspace's files hold together.

CREATE TABLE files (
    workspace text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    created_at text COLLATE "C" NOT NULL,
    expires_at text COLLATE "C",
    session text COLLATE "C",
    filename text COLLATE "C" NOT NULL,
    mime_type text COLLATE "C" NOT NULL,
    size bigint NOT NULL,
    downloadable boolean NOT NULL,
    counted boolean NOT NULL,
    blob text COLLATE "C",
    PRIMARY KEY (workspace, id)
);
CREATE INDEX files_by_time ON files (workspace, created_at, id);
CREATE INDEX files_of_session ON files (workspace, session, created_at, id) WHERE session IS NOT NULL;
CREATE INDEX files_by_blob ON files (workspace, blob) WHERE blob IS NOT NULL;
CREATE INDEX files_that_expire ON files (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE announced_files (
    workspace text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    at text COLLATE "C" NOT NULL,
    abandoned boolean NOT NULL DEFAULT FALSE,
    PRIMARY KEY (workspace, id)
);

CREATE TABLE storage (
    workspace text COLLATE "C" NOT NULL PRIMARY KEY,
    bytes bigint NOT NULL
);
