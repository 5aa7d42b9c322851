-- name: claim_waiting
-- Sessions that wait for an owner, in fair turns; see the function.
SELECT workspace, session, epoch, head, writer_head FROM claim_waiting(:worker, :limit);

-- name: claim_one
-- One session, if it waits for an owner.
WITH owned AS (
    UPDATE wakes SET worker = :worker
    WHERE log = (
        SELECT w.log FROM heads h JOIN wakes w ON w.log = h.log
        WHERE h.workspace = :workspace AND h.session = :session AND w.worker IS NULL
        FOR UPDATE OF w SKIP LOCKED
    )  -- none, too, if it is left to the server that has its files: see migration 10
    RETURNING log
)
UPDATE heads SET epoch = epoch + 1 FROM owned WHERE heads.log = owned.log
RETURNING workspace, session, epoch, head, writer_head;

-- name: beat
-- A sign of life; a worker that was buried stays so.
INSERT INTO workers (worker, beats, buried) VALUES (:worker, 1, false)
ON CONFLICT (worker) DO UPDATE SET beats = workers.beats + 1 WHERE NOT workers.buried;

-- name: beats
-- The signs of life of all who are registered, and of those who own sessions without being so.
SELECT worker, beats FROM workers WHERE NOT buried
UNION ALL
SELECT DISTINCT w.worker, 0 FROM wakes w
WHERE w.worker IS NOT NULL AND NOT EXISTS (SELECT 1 FROM workers k WHERE k.worker = w.worker AND NOT k.buried);

-- name: lock_owned_wakes
-- What a worker owns, before the heads, in order.
SELECT log FROM wakes WHERE worker = :worker ORDER BY log FOR UPDATE;

-- name: lock_heads
-- Heads in order.
SELECT log FROM heads WHERE log = ANY (:logs::bigint[]) ORDER BY log FOR UPDATE;

-- name: fence_off
-- Nothing that a worker still sends may enter these logs.
UPDATE heads SET epoch = epoch + 1 WHERE log = ANY (:logs::bigint[]);

-- name: let_wait
-- Its sessions wait again, in the place that they had.
UPDATE wakes SET worker = NULL WHERE worker = :worker;

-- name: mark_buried
-- Remembered, so that a worker which was only frozen learns of it.
INSERT INTO workers (worker, beats, buried) VALUES (:worker, 0, true)
ON CONFLICT (worker) DO UPDATE SET buried = true;

-- name: surrender
-- Let one session wait again, if this worker owns it, under this epoch if one is said.
UPDATE wakes SET worker = NULL
WHERE worker = :worker AND log = (
    SELECT log FROM heads
    WHERE workspace = :workspace AND session = :session AND epoch = coalesce(CAST(:epoch AS bigint), epoch)
);

-- name: tell_of_waiting
-- Other processes hear, with the commit, that somebody waits for an owner.
SELECT pg_notify('outrider_wakes', :writer);

-- name: runnable
-- How many sessions wait for an owner.
SELECT count(*) AS waiting FROM wakes WHERE worker IS NULL;

-- name: owned
-- What a worker owns.
SELECT heads.workspace, heads.session FROM wakes JOIN heads ON heads.log = wakes.log WHERE wakes.worker = :worker;

-- name: attendance
-- Who owns a session, or (NULL) that it waits for an owner; no row when neither is so.
SELECT wakes.worker FROM heads JOIN wakes ON wakes.log = heads.log
WHERE heads.workspace = :workspace AND heads.session = :session;

-- name: unattended
-- Sessions at work that nobody owns and that do not wait for an owner.
SELECT sessions.workspace, sessions.id FROM sessions
WHERE sessions.status IN ('running', 'rescheduling') AND sessions.archived_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM wakes WHERE wakes.log = sessions.log)
LIMIT :limit;
