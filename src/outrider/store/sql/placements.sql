-- name: place
-- Give a session its host; one that has another keeps it, unless that is the one to replace.
INSERT INTO placements (session, host) VALUES (:session, :host)
ON CONFLICT (session) DO UPDATE SET host = excluded.host WHERE placements.host = :instead_of;

-- name: placement
-- A session's host.
SELECT host FROM placements WHERE session = :session;

-- name: placements
-- Some of them, by their sessions' ids.
SELECT session, host FROM placements WHERE session > :after ORDER BY session LIMIT :limit;

-- name: unplace
-- The session's files are gone from its host.
DELETE FROM placements WHERE session = :session;
