-- name: counters
-- All that a log counts, and where its rows are.
SELECT head, writer_head, epoch, segment FROM heads WHERE workspace = :workspace AND session = :session;

-- name: freeze
-- Note where the rows lie, if the log is as it was and nobody owns or awaits it; fences every owner of before off.
UPDATE heads SET segment = :segment, epoch = epoch + 1
WHERE workspace = :workspace AND session = :session AND head = :if_head AND epoch = :epoch AND segment IS NULL
  AND NOT EXISTS (SELECT 1 FROM wakes WHERE wakes.log = heads.log)
RETURNING log;

-- name: drop_late_snapshot
-- A snapshot that needs rows after it is of no use while there are none.
DELETE FROM snapshots WHERE log = :log AND seq < :head;

-- name: thaw
-- The rows are back, if they lay there.
UPDATE heads SET segment = NULL WHERE workspace = :workspace AND session = :session AND segment = :segment
RETURNING log;

-- name: resting
-- Sessions that nobody has touched for long.
SELECT sessions.workspace, sessions.id FROM sessions JOIN heads ON heads.log = sessions.log
WHERE sessions.status IN ('idle', 'terminated') AND sessions.updated_at < :before
  AND (:cold_too OR heads.segment IS NULL) AND heads.head > 0
  AND NOT EXISTS (SELECT 1 FROM wakes WHERE wakes.log = heads.log)
ORDER BY sessions.updated_at LIMIT :limit;
