-- name: wake
-- Make a session runnable; one that waits already, or has an owner, stays as it is.
INSERT INTO wakes (log, workspace, since)
VALUES (:log, :workspace, (SELECT coalesce(max(since), 0) + 1 FROM wakes))
ON CONFLICT (log) DO NOTHING;

-- name: waiting_workspaces
-- The workspaces that have a waiting session (found by hopping along the index), the one longest without a turn first.
WITH RECURSIVE waiting (workspace) AS (
    SELECT min(workspace) FROM wakes WHERE worker IS NULL
    UNION ALL
    SELECT (SELECT min(workspace) FROM wakes WHERE worker IS NULL AND wakes.workspace > waiting.workspace)
    FROM waiting WHERE waiting.workspace IS NOT NULL
)
SELECT waiting.workspace FROM waiting LEFT JOIN turns ON turns.workspace = waiting.workspace
WHERE waiting.workspace IS NOT NULL
ORDER BY coalesce(turns.served, 0), waiting.workspace;

-- name: longest_waiting
-- The session of a workspace that has waited longest.
SELECT log FROM wakes WHERE worker IS NULL AND workspace = :workspace ORDER BY since LIMIT 1;

-- name: waiting_one
-- One session, if it waits for an owner.
SELECT wakes.log FROM heads JOIN wakes ON wakes.log = heads.log
WHERE heads.workspace = :workspace AND heads.session = :session AND wakes.worker IS NULL;

-- name: waiting_alone
-- One session, if it waits for an owner and no other does.
SELECT wakes.log FROM heads JOIN wakes ON wakes.log = heads.log
WHERE heads.workspace = :workspace AND heads.session = :session AND wakes.worker IS NULL
  AND NOT EXISTS (SELECT 1 FROM wakes AS other WHERE other.worker IS NULL AND other.log <> wakes.log);

-- name: own
-- Give a session to a worker.
UPDATE wakes SET worker = :worker WHERE log = :log;

-- name: next_epoch
-- Fence every earlier owner off.
UPDATE heads SET epoch = epoch + 1 WHERE log = :log RETURNING workspace, session, epoch, head, writer_head;

-- name: take_turn
-- Remember that a workspace had its turn.
INSERT INTO turns (workspace, served) VALUES (:workspace, (SELECT coalesce(max(served), 0) + 1 FROM turns))
ON CONFLICT (workspace) DO UPDATE SET served = excluded.served;

-- name: drop_wake
-- Nobody owns the session and nothing waits for an owner.
DELETE FROM wakes WHERE log = :log;

-- name: beat
-- A sign of life; a worker that was buried stays so.
INSERT INTO workers (worker, beats, buried) VALUES (:worker, 1, 0)
ON CONFLICT (worker) DO UPDATE SET beats = beats + 1 WHERE buried = 0;

-- name: beats
-- The signs of life of all who are registered, and of those who own sessions without being so.
SELECT worker, beats FROM workers WHERE buried = 0
UNION ALL
SELECT DISTINCT worker, 0 FROM wakes
WHERE worker IS NOT NULL AND worker NOT IN (SELECT worker FROM workers WHERE buried = 0);

-- name: fence_off
-- Nothing that this worker still sends may enter a log.
UPDATE heads SET epoch = epoch + 1 WHERE log IN (SELECT log FROM wakes WHERE worker = :worker);

-- name: let_wait
-- Its sessions wait again, in the place that they had.
UPDATE wakes SET worker = NULL WHERE worker = :worker;

-- name: mark_buried
-- Remembered, so that a worker which was only frozen learns of it.
INSERT INTO workers (worker, beats, buried) VALUES (:worker, 0, 1)
ON CONFLICT (worker) DO UPDATE SET buried = 1;

-- name: surrender
-- Let one session wait again, if this worker owns it, under this epoch if one is said.
UPDATE wakes SET worker = NULL
WHERE worker = :worker AND log = (
    SELECT log FROM heads
    WHERE workspace = :workspace AND session = :session AND epoch = coalesce(CAST(:epoch AS INTEGER), epoch)
);

-- name: runnable
-- How many sessions wait for an owner.
SELECT count(*) FROM wakes WHERE worker IS NULL;

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
