-- Sessions are found by their id alone, too.

DROP INDEX sessions_by_id;
CREATE UNIQUE INDEX sessions_by_id ON sessions (id, workspace);
