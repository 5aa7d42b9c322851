-- Which host has a session's sandbox and files, where there are several. By the session's id alone, as on their disks.
CREATE TABLE placements (
    session TEXT PRIMARY KEY,
    host TEXT NOT NULL
) WITHOUT ROWID;
