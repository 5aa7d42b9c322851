-- name: hold_worked_session
-- Keep a session from being erased until this transaction's end.
UPDATE sessions SET updated_at = updated_at WHERE workspace = :workspace AND id = :session;

-- name: hold_work_of_session
-- Its item that isn't stopped, if there is one; the session has made progress.
UPDATE work_items SET tries = 0 WHERE workspace = :workspace AND session = :session AND state <> 'stopped';

-- name: insert_work
-- A new item, unless the session has one by now.
INSERT INTO work_items (workspace, environment, id, session, state, round, beats, ttl, tries, metadata, created_at, queued_at)
VALUES (:workspace, :environment, :id, :session, 'queued', 0, 0, :ttl, :tries, '{}', :at, :at)
ON CONFLICT (workspace, session) WHERE state <> 'stopped' DO NOTHING;

-- name: worked_session
-- What says whether a session needs anybody.
SELECT status, stats FROM sessions WHERE workspace = :workspace AND id = :session;

-- name: waiting_work
-- The item that has waited longest.
SELECT workspace, environment, id, session, state, round, beats, ttl, tries, metadata, created_at, queued_at,
       acknowledged_at, started_at, heartbeat, expected, stop_requested_at, stopped_at
FROM work_items WHERE workspace = :workspace AND environment = :environment AND state = 'queued'
ORDER BY queued_at, id LIMIT 1;

-- name: hand_out_work
-- Give a waiting item to a worker.
UPDATE work_items SET state = 'polled', round = round + 1, token = :token, taken_by = :taker, stood = 0
WHERE workspace = :workspace AND environment = :environment AND id = :id AND state = 'queued';

-- name: hand_out_work_again
-- Give one that was not acknowledged to another worker.
UPDATE work_items SET round = round + 1, token = :token, taken_by = :taker, stood = 0
WHERE workspace = :workspace AND environment = :environment AND id = :id AND state = 'polled' AND round = :round;

-- name: acknowledge_work
-- It was received.
UPDATE work_items SET state = 'starting', acknowledged_at = :at, stood = 0
WHERE workspace = :workspace AND environment = :environment AND id = :id AND state = 'polled';

-- name: beat_work
-- Record a heartbeat, if none came since it was judged.
UPDATE work_items
SET state = :state, beats = beats + 1, heartbeat = :heartbeat, expected = :expected, ttl = :ttl, stood = 0,
    started_at = coalesce(started_at, :at)
WHERE workspace = :workspace AND environment = :environment AND id = :id AND round = :round AND beats = :beats
  AND state IN ('starting', 'active', 'stopping');

-- name: hold_work
-- Keep an item as it is until this transaction's end.
UPDATE work_items SET tries = tries WHERE workspace = :workspace AND environment = :environment AND id = :id;

-- name: hold_held_work
-- The same, only if it stands as it was seen.
UPDATE work_items SET tries = tries
WHERE workspace = :workspace AND environment = :environment AND id = :id AND round = :round AND beats = :beats
  AND state IN ('polled', 'starting', 'active', 'stopping');

-- name: note_standing
-- For how long it has stood like that, in seconds. `stood_as` says like what: a server that knows nothing of it may have
-- moved the item meanwhile.
UPDATE work_items
SET stood = :stood, stood_as = state || '/' || CAST(round AS text) || '/' || CAST(beats AS text)
WHERE workspace = :workspace AND environment = :environment AND id = :id AND round = :round AND beats = :beats
  AND state = :state AND (
    stood < :stood OR coalesce(stood_as, '') <> state || '/' || CAST(round AS text) || '/' || CAST(beats AS text)
  );

-- name: ask_work_to_stop
-- Its holder hears of it at its next heartbeat.
UPDATE work_items SET state = 'stopping', stop_requested_at = coalesce(stop_requested_at, :at), ttl = :ttl, stood = 0
WHERE workspace = :workspace AND environment = :environment AND id = :id;

-- name: end_work
-- It is over, and its token worthless.
UPDATE work_items SET state = 'stopped', stopped_at = :at, token = NULL
WHERE workspace = :workspace AND environment = :environment AND id = :id;

-- name: put_work_back
-- Its holder is gone: as if nobody had ever had it, but for the round.
UPDATE work_items
SET state = 'queued', queued_at = :at, token = NULL, acknowledged_at = NULL, started_at = NULL, heartbeat = NULL,
    expected = NULL
WHERE workspace = :workspace AND environment = :environment AND id = :id;

-- name: held_work
-- All that workers were given and that aren't stopped.
SELECT id, round, beats, state, ttl,
       CASE WHEN stood_as = state || '/' || CAST(round AS text) || '/' || CAST(beats AS text) THEN stood ELSE 0 END
FROM work_items
WHERE workspace = :workspace AND environment = :environment AND state IN ('polled', 'starting', 'active', 'stopping')
ORDER BY queued_at, id;

-- name: all_held_work
-- The same everywhere.
SELECT workspace, environment, id, round, beats, state, ttl,
       CASE WHEN stood_as = state || '/' || CAST(round AS text) || '/' || CAST(beats AS text) THEN stood ELSE 0 END
FROM work_items
WHERE state <> 'stopped' AND state IN ('polled', 'starting', 'active', 'stopping')
ORDER BY workspace, environment, queued_at, id;

-- name: work
-- One item.
SELECT workspace, environment, id, session, state, round, beats, ttl, tries, metadata, created_at, queued_at,
       acknowledged_at, started_at, heartbeat, expected, stop_requested_at, stopped_at
FROM work_items WHERE workspace = :workspace AND environment = :environment AND id = :id;

-- name: works_newest_first
-- A page of an environment's items.
SELECT workspace, environment, id, session, state, round, beats, ttl, tries, metadata, created_at, queued_at,
       acknowledged_at, started_at, heartbeat, expected, stop_requested_at, stopped_at
FROM work_items
WHERE workspace = :workspace AND environment = :environment AND (created_at, id) < (:after_time, :after_id)
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: update_work
-- Other metadata, if it was not changed meanwhile.
UPDATE work_items SET metadata = :metadata
WHERE workspace = :workspace AND environment = :environment AND id = :id AND metadata = :before;

-- name: note_poller
-- When a worker last asked.
INSERT INTO work_pollers (workspace, environment, worker, seen_at) VALUES (:workspace, :environment, :worker, :at)
ON CONFLICT (workspace, environment, worker) DO UPDATE SET seen_at = excluded.seen_at;

-- name: forget_pollers
-- Those that have not asked for long.
DELETE FROM work_pollers WHERE workspace = :workspace AND environment = :environment AND seen_at < :forget;

-- name: work_counts
-- Items that wait or were not acknowledged, and since when the oldest waits.
SELECT count(CASE WHEN state = 'queued' THEN 1 END), count(CASE WHEN state = 'polled' THEN 1 END), min(queued_at)
FROM work_items WHERE workspace = :workspace AND environment = :environment AND state IN ('queued', 'polled');

-- name: workers_polling
-- Workers that have asked since a time.
SELECT count(*) FROM work_pollers WHERE workspace = :workspace AND environment = :environment AND seen_at >= :since;

-- name: hold_all_work_of_session
-- All items of a session, stopped or not: who would store an answer about one has stored it, or never will.
UPDATE work_items SET tries = tries WHERE workspace = :workspace AND session = :session;

-- name: held_tokens
-- The items of a session that have a token.
SELECT id FROM work_items WHERE workspace = :workspace AND session = :session AND token IS NOT NULL;

-- name: erase_work_of_session
-- All items of a session that is erased.
DELETE FROM work_items WHERE workspace = :workspace AND session = :session;

-- name: erase_pollers
-- Of an environment that is deleted.
DELETE FROM work_pollers WHERE workspace = :workspace AND environment = :id;
