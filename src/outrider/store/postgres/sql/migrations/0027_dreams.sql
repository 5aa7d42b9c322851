-- Dreams: sessions that write a memory store anew from what other sessions did.

CREATE TABLE dreams (
    workspace text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    created_at text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    output text COLLATE "C" NOT NULL,
    session text COLLATE "C" NOT NULL,
    body bytea NOT NULL,
    begun_at text COLLATE "C",
    opened_at text COLLATE "C",
    outcome text COLLATE "C",
    ended_at text COLLATE "C",
    settled_at text COLLATE "C",
    archived_at text COLLATE "C",
    error bytea,
    usage bytea,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX dreams_by_time ON dreams (workspace, created_at, id);
CREATE INDEX dreams_by_session ON dreams (workspace, session) WHERE settled_at IS NOT NULL;
CREATE INDEX dreams_unsettled ON dreams (created_at, id) WHERE settled_at IS NULL;
