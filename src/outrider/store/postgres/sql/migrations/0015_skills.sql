-- Skills and their versions. A version's bytes lie in the blob store under its id.

CREATE TABLE skills (
    workspace text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    created_at text COLLATE "C" NOT NULL,
    updated_at text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    display_name text COLLATE "C" NOT NULL,
    latest text COLLATE "C" NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX skills_by_time ON skills (workspace, created_at, id);

CREATE TABLE skill_versions (
    workspace text COLLATE "C" NOT NULL,
    skill text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    created_at text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    description text COLLATE "C" NOT NULL,
    size bigint NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX skill_versions_by_time ON skill_versions (workspace, skill, created_at, id);
