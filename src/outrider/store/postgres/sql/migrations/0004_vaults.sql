-- Vaults and their credentials, without any secret, and a row for each change of one.

CREATE TABLE vaults (
    workspace text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    created_at text COLLATE "C" NOT NULL,
    updated_at text COLLATE "C" NOT NULL,
    archived_at text COLLATE "C",
    body bytea NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX vaults_by_time ON vaults (workspace, created_at, id);

CREATE TABLE credentials (
    workspace text COLLATE "C" NOT NULL,
    vault text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    place text COLLATE "C" NOT NULL,
    revision bigint NOT NULL,
    secret bigint NOT NULL,
    created_at text COLLATE "C" NOT NULL,
    updated_at text COLLATE "C" NOT NULL,
    archived_at text COLLATE "C",
    body bytea NOT NULL,
    PRIMARY KEY (workspace, vault, id)
);
CREATE INDEX credentials_by_time ON credentials (workspace, vault, created_at, id);
CREATE UNIQUE INDEX credentials_by_place ON credentials (workspace, vault, place) WHERE archived_at IS NULL;

CREATE TABLE changes (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    object text COLLATE "C" NOT NULL,
    at text COLLATE "C" NOT NULL,
    vault text COLLATE "C"
);
