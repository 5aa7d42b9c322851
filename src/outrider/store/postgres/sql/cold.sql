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

-- name: put_back
-- Rows as they were.
INSERT INTO events (log, seq, id, workspace, type, thread, public, epoch, processed_at, processes, body)
SELECT :log, e.seq, e.id, :workspace, e.type, e.thread, e.public, e.epoch, e.processed_at, e.processes, e.body
FROM unnest(:seqs::bigint[], :ids::text[], :types::text[], :threads::text[], :publics::boolean[], :epochs::bigint[],
            :times::text[], :processes::text[], :bodies::bytea[])
     AS e (seq, id, type, thread, public, epoch, processed_at, processes, body);

-- name: make_history
-- The places of a log's events that waited: at the first row that took them up, else after all others.
INSERT INTO history (log, position, seq, event, workspace, processed_at)
SELECT e.log, coalesce(taken.seq, 4503599627370496 + e.seq), e.seq, e.id, e.workspace, taken.processed_at
FROM events e LEFT JOIN (
    SELECT DISTINCT ON (p.processes) p.processes AS event, p.seq, p.processed_at
    FROM events p WHERE p.log = :log AND p.processes IS NOT NULL ORDER BY p.processes, p.seq
) AS taken ON taken.event = e.id AND taken.seq > e.seq
WHERE e.log = :log AND e.public AND e.processed_at IS NULL;

-- name: resting
-- Sessions that nobody has touched for long.
SELECT s.workspace, s.id FROM sessions s JOIN heads h ON h.log = s.log
WHERE s.status IN ('idle', 'terminated') AND s.updated_at < :before
  AND (:cold_too::boolean OR h.segment IS NULL) AND h.head > 0
  AND NOT EXISTS (SELECT 1 FROM wakes WHERE wakes.log = h.log)
ORDER BY s.updated_at LIMIT :limit;
