-- name: commit_jobs
-- Appends of many sessions, and what belongs to them, in one transaction; see the function.
SELECT r_verdicts, r_heads, r_writer_heads, r_epochs, r_claimed FROM commit_jobs(
    :writer, :batch, :careful,
    :kinds, :workspaces, :sessions, :counts, :doubled,
    :wakes, :releases, :epochs, :writer_heads, :if_heads, :workers,
    :event_jobs, :places, :ids, :types, :threads, :publics, :times, :processes, :bodies, :any_waits, :any_processes,
    :patch_jobs, :statuses, :usages, :stats, :updates,
    :snapshot_jobs, :snapshot_seqs, :snapshot_versions, :snapshots,
    :answer_jobs, :answer_names, :answer_times, :answer_statuses, :answers,
    :answer_retries, :answered_since, :answered_retries,
    :record_jobs, :record_columns, :record_threads, :agent_ids, :agent_versions, :environment_ids, :record_statuses,
    :created, :updated, :archived, :agents, :details, :record_usages, :record_stats
);

-- name: commit_jobs_on_footings
-- The same where new sessions stand on environments, agents and vaults, which are held first; see both functions.
SELECT r_verdicts, r_heads, r_writer_heads, r_epochs, r_claimed
FROM hold_footings(:kinds, :workspaces, :sessions, :footing_jobs, :footing_kinds, :footings) AS fit, commit_jobs(
    :writer, :batch, :careful,
    fit.r_kinds, :workspaces, fit.r_sessions, :counts, :doubled,
    :wakes, :releases, :epochs, :writer_heads, :if_heads, :workers,
    :event_jobs, :places, :ids, :types, :threads, :publics, :times, :processes, :bodies, :any_waits, :any_processes,
    :patch_jobs, :statuses, :usages, :stats, :updates,
    :snapshot_jobs, :snapshot_seqs, :snapshot_versions, :snapshots,
    :answer_jobs, :answer_names, :answer_times, :answer_statuses, :answers,
    :answer_retries, :answered_since, :answered_retries,
    :record_jobs, :record_columns, :record_threads, :agent_ids, :agent_versions, :environment_ids, :record_statuses,
    :created, :updated, :archived, :agents, :details, :record_usages, :record_stats
);

-- name: settled
-- The writer's own row, locked until the transaction ends: whether this batch is committed already, and its answer.
SELECT batch, answer FROM writers WHERE writer = :writer FOR UPDATE;

-- name: enrol
-- A process that begins to write.
INSERT INTO writers (writer, batch) VALUES (:writer, 0) ON CONFLICT (writer) DO NOTHING;

-- name: settle
-- What this batch was answered, with the batch.
UPDATE writers SET batch = :batch, answer = :answer WHERE writer = :writer;

-- name: resign
-- A process that writes no more.
DELETE FROM writers WHERE writer = :writer;

-- name: forget_writers
-- Rows of processes that ended without a word long ago; one that still runs writes its row anew.
DELETE FROM writers WHERE since < now() - interval '30 days';

-- name: head
-- A log's number and counters.
SELECT log, head, writer_head, epoch FROM heads WHERE workspace = :workspace AND session = :session;

-- name: heads
-- How far these logs go; unknown sessions are left out.
SELECT h.workspace, h.session, h.head
FROM unnest(:workspaces::text[], :sessions::text[]) AS k (workspace, session)
JOIN heads h ON h.workspace = k.workspace AND h.session = k.session;

-- name: lock_wake
-- A session's place in the queue, before its head.
SELECT 1 AS found FROM wakes
WHERE log = (SELECT log FROM heads WHERE workspace = :workspace AND session = :session) FOR UPDATE;

-- name: lock_head
-- A log's number and counters, kept as they are until the transaction ends.
SELECT log, head FROM heads WHERE workspace = :workspace AND session = :session FOR UPDATE;

-- name: read
-- Rows after a seq, oldest first.
SELECT seq, id, type, body, thread, public, epoch, processed_at, processes FROM events
WHERE log = :log AND seq > :after
ORDER BY seq LIMIT :limit;

-- name: find
-- Rows by event id.
SELECT seq, id, type, body, thread, public, epoch, processed_at, processes FROM events
WHERE log = :log AND id = ANY (:ids::text[]);

-- name: history_oldest_first
-- A page of the public history: events that never waited, merged with those that did. `thread` NULL: the primary one.
(
    SELECT e.seq, e.id, e.type, e.body, e.thread, e.public, e.epoch, e.processed_at, e.processes,
           e.seq AS position, e.processed_at AS shown_at
    FROM events e
    WHERE e.log = :log AND e.seq > :after AND e.public AND e.processed_at IS NOT NULL
      AND e.thread = coalesce(:thread::text, (SELECT thread FROM sessions WHERE log = :log))
      AND (:types::text[] IS NULL OR e.type = ANY (:types))
      AND e.processed_at > :gt AND e.processed_at >= :gte AND e.processed_at < :lt AND e.processed_at <= :lte
    ORDER BY e.seq LIMIT :limit
)
UNION ALL
(
    SELECT e.seq, e.id, e.type, e.body, e.thread, e.public, e.epoch, e.processed_at, e.processes,
           h.position, h.processed_at
    FROM history h JOIN events e ON e.log = :log AND e.seq = h.seq
    WHERE h.log = :log AND h.position > :after
      AND e.thread = coalesce(:thread::text, (SELECT thread FROM sessions WHERE log = :log))
      AND (:types::text[] IS NULL OR e.type = ANY (:types))
      AND (NOT :timed::boolean
           OR (h.processed_at > :gt AND h.processed_at >= :gte AND h.processed_at < :lt AND h.processed_at <= :lte))
    ORDER BY h.position LIMIT :limit
)
ORDER BY position LIMIT :limit;

-- name: history_newest_first
-- The same page from the other end.
(
    SELECT e.seq, e.id, e.type, e.body, e.thread, e.public, e.epoch, e.processed_at, e.processes,
           e.seq AS position, e.processed_at AS shown_at
    FROM events e
    WHERE e.log = :log AND e.seq < :after AND e.public AND e.processed_at IS NOT NULL
      AND e.thread = coalesce(:thread::text, (SELECT thread FROM sessions WHERE log = :log))
      AND (:types::text[] IS NULL OR e.type = ANY (:types))
      AND e.processed_at > :gt AND e.processed_at >= :gte AND e.processed_at < :lt AND e.processed_at <= :lte
    ORDER BY e.seq DESC LIMIT :limit
)
UNION ALL
(
    SELECT e.seq, e.id, e.type, e.body, e.thread, e.public, e.epoch, e.processed_at, e.processes,
           h.position, h.processed_at
    FROM history h JOIN events e ON e.log = :log AND e.seq = h.seq
    WHERE h.log = :log AND h.position < :after
      AND e.thread = coalesce(:thread::text, (SELECT thread FROM sessions WHERE log = :log))
      AND (:types::text[] IS NULL OR e.type = ANY (:types))
      AND (NOT :timed::boolean
           OR (h.processed_at > :gt AND h.processed_at >= :gte AND h.processed_at < :lt AND h.processed_at <= :lte))
    ORDER BY h.position DESC LIMIT :limit
)
ORDER BY position DESC LIMIT :limit;

-- name: snapshot
-- The latest folded state.
SELECT seq, version, body FROM snapshots WHERE log = :log;
