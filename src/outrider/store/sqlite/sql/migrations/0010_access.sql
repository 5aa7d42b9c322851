-- Keys have a scope and may be for one environment; workspaces have names. A node's first key is known, so that the next
-- one can take its place; `access_revision` grows whenever a key stops to be valid.

ALTER TABLE api_keys ADD COLUMN scope TEXT NOT NULL DEFAULT 'admin';
ALTER TABLE api_keys ADD COLUMN environment TEXT;
CREATE INDEX api_keys_by_time ON api_keys (workspace, created_at, id);

ALTER TABLE workspaces ADD COLUMN name TEXT NOT NULL DEFAULT 'default';
ALTER TABLE workspaces ADD COLUMN created_at TEXT NOT NULL DEFAULT '';
ALTER TABLE workspaces ADD COLUMN archived_at TEXT;
UPDATE workspaces SET created_at = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now');
CREATE UNIQUE INDEX workspaces_by_name ON workspaces (name) WHERE archived_at IS NULL;

CREATE TABLE first_keys (
    node TEXT PRIMARY KEY,
    key TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE access_revision (
    id INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL
);
