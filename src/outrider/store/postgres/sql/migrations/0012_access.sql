-- Keys have a scope and may be for one environment; workspaces have names. A node's first key is known, so that the next
-- one can take its place; `access_revision` grows whenever a key stops to be valid.

ALTER TABLE api_keys ADD COLUMN scope text COLLATE "C" NOT NULL DEFAULT 'admin';
ALTER TABLE api_keys ADD COLUMN environment text COLLATE "C";
CREATE INDEX api_keys_by_time ON api_keys (workspace, created_at, id);

ALTER TABLE workspaces ADD COLUMN name text COLLATE "C" NOT NULL DEFAULT 'default';
ALTER TABLE workspaces ADD COLUMN created_at text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE workspaces ADD COLUMN archived_at text COLLATE "C";
UPDATE workspaces SET created_at = to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
CREATE UNIQUE INDEX workspaces_by_name ON workspaces (name) WHERE archived_at IS NULL;

CREATE TABLE first_keys (
    node text COLLATE "C" PRIMARY KEY,
    key text COLLATE "C" NOT NULL
);

CREATE TABLE access_revision (
    id bigint PRIMARY KEY,
    revision bigint NOT NULL
);
