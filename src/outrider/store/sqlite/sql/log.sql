-- name: head
-- A log's number, its counters, and where its rows lie if not here.
SELECT log, head, writer_head, epoch, segment FROM heads WHERE workspace = :workspace AND session = :session;

-- name: heads
-- The heads of the logs named in a JSON array of [workspace, session].
SELECT workspace, session, head FROM heads
WHERE (workspace, session) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:keys));

-- name: advance_owned
-- The fence: moves the head on only under the stored epoch and writer head (and the head that was read, if given).
UPDATE heads
SET head = head + :count, writer_head = CASE WHEN :count > 0 THEN head + :count ELSE writer_head END
WHERE workspace = :workspace AND session = :session AND epoch = :epoch AND writer_head = :writer_head
  AND (:if_head IS NULL OR head = :if_head)
RETURNING log, head, writer_head;

-- name: advance_client
-- Moves the head on for a client's rows; the owner's writer head stays.
UPDATE heads SET head = head + :count WHERE log = :log;

-- name: insert_event
-- One row of a log; triggers keep the history.
INSERT INTO events (log, seq, id, workspace, type, thread, public, epoch, processed_at, processes, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: is_stored
-- Whether a log holds this id already.
SELECT 1 FROM events WHERE id = :id AND log = :log;

-- name: count_stored
-- How many of these ids a log holds already.
SELECT count(*) FROM events WHERE log = :log AND id IN (SELECT value FROM json_each(:ids));

-- name: read
-- Rows after a seq, oldest first.
SELECT seq, id, type, body, thread, public, epoch, processed_at, processes FROM events
WHERE log = (SELECT log FROM heads WHERE workspace = :workspace AND session = :session) AND seq > :after
ORDER BY seq LIMIT :limit;

-- name: find
-- Rows by event id.
SELECT seq, id, type, body, thread, public, epoch, processed_at, processes FROM events
WHERE log = (SELECT log FROM heads WHERE workspace = :workspace AND session = :session)
  AND id IN (SELECT value FROM json_each(:ids));

-- name: history_oldest_first
-- A page of the public history: events that never waited, merged with those that did. `thread` NULL: the primary one.
SELECT e.seq, e.id, e.type, e.body, e.thread, e.public, e.epoch, e.processed_at, e.processes,
       e.seq AS position, e.processed_at AS shown_at
FROM events e
WHERE e.log = (SELECT log FROM heads WHERE workspace = :workspace AND session = :session)
  AND e.seq > :after AND e.public = 1 AND e.processed_at IS NOT NULL
  AND e.thread = coalesce(:thread, (SELECT thread FROM sessions WHERE workspace = :workspace AND id = :session))
  AND (:types IS NULL OR e.type IN (SELECT value FROM json_each(:types)))
  AND e.processed_at > :gt AND e.processed_at >= :gte AND e.processed_at < :lt AND e.processed_at <= :lte
UNION ALL
SELECT e.seq, e.id, e.type, e.body, e.thread, e.public, e.epoch, e.processed_at, e.processes,
       h.position, h.processed_at
FROM history h JOIN events e ON e.log = h.log AND e.seq = h.seq
WHERE h.log = (SELECT log FROM heads WHERE workspace = :workspace AND session = :session)
  AND h.position > :after
  AND e.thread = coalesce(:thread, (SELECT thread FROM sessions WHERE workspace = :workspace AND id = :session))
  AND (:types IS NULL OR e.type IN (SELECT value FROM json_each(:types)))
  AND (NOT :timed OR (h.processed_at > :gt AND h.processed_at >= :gte AND h.processed_at < :lt AND h.processed_at <= :lte))
ORDER BY position LIMIT :limit;

-- name: history_newest_first
-- The same page from the other end.
SELECT e.seq, e.id, e.type, e.body, e.thread, e.public, e.epoch, e.processed_at, e.processes,
       e.seq AS position, e.processed_at AS shown_at
FROM events e
WHERE e.log = (SELECT log FROM heads WHERE workspace = :workspace AND session = :session)
  AND e.seq < :after AND e.public = 1 AND e.processed_at IS NOT NULL
  AND e.thread = coalesce(:thread, (SELECT thread FROM sessions WHERE workspace = :workspace AND id = :session))
  AND (:types IS NULL OR e.type IN (SELECT value FROM json_each(:types)))
  AND e.processed_at > :gt AND e.processed_at >= :gte AND e.processed_at < :lt AND e.processed_at <= :lte
UNION ALL
SELECT e.seq, e.id, e.type, e.body, e.thread, e.public, e.epoch, e.processed_at, e.processes,
       h.position, h.processed_at
FROM history h JOIN events e ON e.log = h.log AND e.seq = h.seq
WHERE h.log = (SELECT log FROM heads WHERE workspace = :workspace AND session = :session)
  AND h.position < :after
  AND e.thread = coalesce(:thread, (SELECT thread FROM sessions WHERE workspace = :workspace AND id = :session))
  AND (:types IS NULL OR e.type IN (SELECT value FROM json_each(:types)))
  AND (NOT :timed OR (h.processed_at > :gt AND h.processed_at >= :gte AND h.processed_at < :lt AND h.processed_at <= :lte))
ORDER BY position DESC LIMIT :limit;

-- name: patch_session
-- The projections that an append changes in the session's record; NULL leaves a column as it is.
UPDATE sessions SET
    status = coalesce(:status, status),
    usage = coalesce(:usage, usage),
    stats = coalesce(:stats, stats),
    updated_at = coalesce(:updated_at, updated_at)
WHERE log = :log;

-- name: put_snapshot
-- The latest folded state takes the place of the one before.
INSERT INTO snapshots (log, workspace, seq, version, body) VALUES (:log, :workspace, :seq, :version, :body)
ON CONFLICT (log) DO UPDATE SET seq = excluded.seq, version = excluded.version, body = excluded.body;

-- name: snapshot
-- The latest folded state.
SELECT seq, version, body FROM snapshots
WHERE log = (SELECT log FROM heads WHERE workspace = :workspace AND session = :session);
