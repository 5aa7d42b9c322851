-- Skills and their versions. A version's bytes lie in the blob store under its id.

CREATE TABLE skills (
    workspace TEXT NOT NULL,
    id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    name TEXT NOT NULL,
    display_name TEXT NOT NULL,
    latest TEXT NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX skills_by_time ON skills (workspace, created_at, id);

CREATE TABLE skill_versions (
    workspace TEXT NOT NULL,
    skill TEXT NOT NULL,
    id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX skill_versions_by_time ON skill_versions (workspace, skill, created_at, id);
