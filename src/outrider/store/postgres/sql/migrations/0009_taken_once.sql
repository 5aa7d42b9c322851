-- A request that is sent again elsewhere is taken once: `commit_jobs` is `commit_batch` (which goes one release later)
-- with conditions on stored answers. `retries` counts the answers under a name that were given to retries.

ALTER TABLE answers ADD COLUMN retries bigint NOT NULL DEFAULT 0;

-- One batch of appends in one statement, each job on a session of its own. Arrays are parallel: one place a job, or one
-- a patch, snapshot, answer, record, event, which then names its job (from 1). A group that nothing uses is NULL.
--
-- Kinds: 1 a client's append, 2 an owner's, 3 a release, 4 a new session, 5 a client's change of the record.
-- Verdicts: 0 done, 1 stored before (a repetition), 2 no such session, 3 the head is another, 4 another owner,
-- 5 written to since, 6 stored in part, 7 exists, 8 an id twice, 9 the request was answered meanwhile.
--
-- `p_careful` looks for each event's id first. Without it a stored id ends the batch with a unique violation, and it
-- has to be sent again with care: almost no event is ever sent twice.
--
-- Answered meanwhile: an answer of `p_answered_since` or later stands under the name, or one that was given to a retry
-- beyond the first `p_answered_retries`. The head's lock makes that exact; new sessions have none, so names are locked.
--
-- Locks: the writer's own row, names of answers that make sessions, new heads, wakes by log, heads by log, turns by
-- workspace; nobody takes them otherwise.

CREATE FUNCTION commit_jobs(
    p_writer text, p_batch bigint, p_careful boolean,
    p_kinds smallint[], p_workspaces text[], p_sessions text[], p_counts int[], p_doubled boolean[],
    p_wakes boolean[], p_releases boolean[], p_epochs bigint[], p_writer_heads bigint[], p_if_heads bigint[],
    p_workers text[],
    p_event_jobs int[], p_places int[], p_ids text[], p_types text[], p_threads text[], p_publics boolean[],
    p_times text[], p_processes text[], p_bodies bytea[], p_any_waits boolean, p_any_processes boolean,
    p_patch_jobs int[], p_statuses text[], p_usages bytea[], p_stats bytea[], p_updates text[],
    p_snapshot_jobs int[], p_snapshot_seqs bigint[], p_snapshot_versions bigint[], p_snapshots bytea[],
    p_answer_jobs int[], p_answer_names text[], p_answer_times text[], p_answer_statuses bigint[], p_answers bytea[],
    p_answer_retries int[], p_answered_since text[], p_answered_retries bigint[],
    p_record_jobs int[], p_record_columns text[], p_record_threads text[], p_agent_ids text[],
    p_agent_versions bigint[], p_environment_ids text[], p_record_statuses text[], p_created text[],
    p_updated text[], p_archived text[], p_agents bytea[], p_details bytea[], p_record_usages bytea[],
    p_record_stats bytea[],
    OUT r_verdicts smallint[], OUT r_heads bigint[], OUT r_writer_heads bigint[], OUT r_epochs bigint[],
    OUT r_claimed boolean[]
)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    jobs CONSTANT int := cardinality(p_kinds);
    known record;
    spot record;
    ids text[];
    logs bigint[] := array_fill(NULL::bigint, ARRAY[jobs]);
    bases bigint[] := array_fill(NULL::bigint, ARRAY[jobs]);
    made bigint[] := '{}';
    woken bigint[] := '{}';
    unwanted bigint[] := '{}';
    grown int[] := '{}';
    verdict smallint;
    stored int;
    since_base bigint;
    fits boolean;
    new_epoch bigint;
    waiting boolean := false;
    place int;
    answered int[] := '{}';
BEGIN
    SELECT * INTO known FROM writers WHERE writer = p_writer FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO writers (writer, batch) VALUES (p_writer, 0);
    ELSIF known.batch = p_batch THEN
        r_verdicts := known.verdicts;
        r_heads := known.heads;
        r_writer_heads := known.writer_heads;
        r_epochs := known.epochs;
        r_claimed := known.claimed;
        RETURN;
    END IF;

    r_verdicts := array_fill(2::smallint, ARRAY[jobs]);
    r_heads := array_fill(0::bigint, ARRAY[jobs]);
    r_writer_heads := r_heads;
    r_epochs := r_heads;
    r_claimed := array_fill(false, ARRAY[jobs]);

    IF 4 = ANY (p_kinds) AND p_answer_jobs IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(a.lock) FROM (
            SELECT DISTINCT hashtextextended(p_workspaces[k.job] || ' ' || k.name, 0) AS lock
            FROM unnest(p_answer_jobs, p_answer_names) AS k (job, name) WHERE p_kinds[k.job] = 4 ORDER BY 1
        ) AS a;
        SELECT coalesce(array_agg(k.job), '{}') INTO answered
        FROM unnest(p_answer_jobs, p_answer_names, p_answered_since, p_answered_retries)
             AS k (job, name, since, retries)
        JOIN answers s ON s.workspace = p_workspaces[k.job] AND s.idempotency = k.name
        WHERE p_kinds[k.job] = 4 AND (s.at >= k.since OR s.retries > k.retries);
        FOREACH place IN ARRAY answered LOOP
            r_verdicts[place] := 9;
        END LOOP;
    END IF;

    IF 4 = ANY (p_kinds) THEN
        WITH inserted AS (
            INSERT INTO heads (workspace, session, head, writer_head, epoch)
            SELECT j.workspace, j.session, j.count, 0, 0
            FROM unnest(p_kinds, p_workspaces, p_sessions, p_counts)
                 WITH ORDINALITY AS j (kind, workspace, session, count, n)
            WHERE j.kind = 4 AND j.n <> ALL (answered)
            ORDER BY j.workspace COLLATE "C", j.session COLLATE "C"
            ON CONFLICT (workspace, session) DO NOTHING
            RETURNING log
        )
        SELECT coalesce(array_agg(log), '{}') INTO made FROM inserted;
    END IF;

    -- A wake's row is locked whether it was there or not, before any head: so a release can't miss what comes with it.
    -- What a refused job has woken is taken back below.
    IF true = ANY (p_wakes) OR true = ANY (p_releases) THEN
        since_base := nextval('wakes_since');
        WITH inserted AS (
            INSERT INTO wakes (log, workspace, since)
            SELECT h.log, h.workspace, since_base + j.n
            FROM unnest(p_workspaces, p_sessions, p_wakes, p_releases)
                 WITH ORDINALITY AS j (workspace, session, wake, release, n)
            JOIN heads h ON h.workspace = j.workspace AND h.session = j.session
            WHERE j.wake OR j.release
            ORDER BY h.log
            ON CONFLICT (log) DO UPDATE SET since = wakes.since WHERE false
            RETURNING log
        )
        SELECT coalesce(array_agg(log), '{}') INTO woken FROM inserted;
        unwanted := woken;
    END IF;

    FOR spot IN
        SELECT j.n, h.log, h.head, h.writer_head, h.epoch
        FROM unnest(p_workspaces, p_sessions) WITH ORDINALITY AS j (workspace, session, n)
        JOIN heads h ON h.workspace = j.workspace AND h.session = j.session
        ORDER BY h.log
        FOR UPDATE OF h
    LOOP
        logs[spot.n] := spot.log;
        bases[spot.n] := spot.head;
        fits := p_if_heads[spot.n] IS NULL OR p_if_heads[spot.n] = spot.head;
        stored := NULL;
        IF p_counts[spot.n] > 0 AND p_kinds[spot.n] IN (1, 2, 5) AND (
            p_careful OR (p_kinds[spot.n] = 1 AND NOT fits)
            OR (p_kinds[spot.n] = 2 AND spot.epoch = p_epochs[spot.n] AND spot.writer_head <> p_writer_heads[spot.n])
        ) THEN
            SELECT array_agg(DISTINCT e.id) INTO ids
            FROM unnest(p_event_jobs, p_ids) AS e (job, id) WHERE e.job = spot.n;
            SELECT count(*) INTO stored FROM events WHERE log = spot.log AND id = ANY (ids);
        END IF;
        place := CASE WHEN p_kinds[spot.n] = 1 THEN array_position(p_answer_jobs, spot.n::int) END;
        CASE p_kinds[spot.n]
            WHEN 1 THEN
                verdict := CASE
                    WHEN stored > 0 AND stored = cardinality(ids) THEN 1
                    WHEN stored > 0 THEN 6
                    WHEN place IS NOT NULL AND EXISTS (
                        SELECT 1 FROM answers
                        WHERE workspace = p_workspaces[spot.n] AND idempotency = p_answer_names[place]
                          AND (at >= p_answered_since[place] OR retries > p_answered_retries[place])
                    ) THEN 9
                    WHEN NOT fits THEN 3
                    WHEN p_doubled[spot.n] THEN 8
                    ELSE 0
                END;
            WHEN 2 THEN
                verdict := CASE
                    WHEN spot.epoch <> p_epochs[spot.n] THEN 4
                    WHEN spot.writer_head = p_writer_heads[spot.n] THEN
                        CASE WHEN NOT fits THEN 3 WHEN p_doubled[spot.n] THEN 8 WHEN stored > 0 THEN 6 ELSE 0 END
                    WHEN stored > 0 AND stored = cardinality(ids) THEN 1
                    WHEN stored > 0 THEN 6
                    ELSE 5
                END;
            WHEN 3 THEN
                verdict := CASE WHEN spot.epoch <> p_epochs[spot.n] THEN 4 WHEN NOT fits THEN 3 ELSE 0 END;
            WHEN 4 THEN
                verdict := CASE WHEN spot.log = ANY (made) THEN 0 ELSE 7 END;
                bases[spot.n] := 0;
            ELSE
                verdict := CASE
                    WHEN NOT fits THEN 3 WHEN p_doubled[spot.n] THEN 8 WHEN stored > 0 THEN 6 ELSE 0
                END;
        END CASE;
        r_verdicts[spot.n] := verdict;
        r_heads[spot.n] := spot.head;
        r_writer_heads[spot.n] := spot.writer_head;
        r_epochs[spot.n] := spot.epoch;
        IF verdict = 0 AND p_counts[spot.n] > 0 THEN
            grown := grown || spot.n::int;
            IF p_kinds[spot.n] <> 4 THEN
                r_heads[spot.n] := spot.head + p_counts[spot.n];
            END IF;
            IF p_kinds[spot.n] = 2 THEN
                r_writer_heads[spot.n] := r_heads[spot.n];
            END IF;
        END IF;
        IF unwanted <> '{}' AND verdict = 0 AND p_wakes[spot.n] THEN
            unwanted := array_remove(unwanted, spot.log);
        ELSIF verdict = 0 AND p_releases[spot.n] THEN
            unwanted := unwanted || spot.log;
        END IF;
    END LOOP;

    IF grown <> '{}' THEN
        UPDATE heads SET head = r_heads[g.n], writer_head = r_writer_heads[g.n]
        FROM unnest(grown) AS g (n) WHERE log = logs[g.n];
        INSERT INTO events (log, seq, id, workspace, type, thread, public, epoch, processed_at, processes, body)
        SELECT logs[e.job], bases[e.job] + e.place, e.id, p_workspaces[e.job], e.type, e.thread, e.public,
               CASE p_kinds[e.job] WHEN 2 THEN p_epochs[e.job] ELSE 0 END, e.processed_at, e.processes, e.body
        FROM unnest(p_event_jobs, p_places, p_ids, p_types, p_threads, p_publics, p_times, p_processes, p_bodies)
             AS e (job, place, id, type, thread, public, processed_at, processes, body)
        WHERE r_verdicts[e.job] = 0;
        IF p_any_waits THEN
            INSERT INTO history (log, position, seq, event, workspace)
            SELECT logs[e.job], 4503599627370496 + bases[e.job] + e.place, bases[e.job] + e.place, e.id,
                   p_workspaces[e.job]
            FROM unnest(p_event_jobs, p_places, p_ids, p_publics, p_times) AS e (job, place, id, public, processed_at)
            WHERE r_verdicts[e.job] = 0 AND e.public AND e.processed_at IS NULL;
        END IF;
        -- Changes nothing when the event never waited, came later, or has been taken up before.
        IF p_any_processes THEN
            WITH taken AS MATERIALIZED (
                SELECT DISTINCT ON (w.log, w.position) w.log, w.position, bases[e.job] + e.place AS seq, e.processed_at
                FROM unnest(p_event_jobs, p_places, p_times, p_processes) AS e (job, place, processed_at, processes)
                JOIN history w ON w.log = logs[e.job] AND w.position >= 4503599627370496
                     AND w.event = e.processes AND w.seq < bases[e.job] + e.place
                WHERE r_verdicts[e.job] = 0 AND e.processes IS NOT NULL
                ORDER BY w.log, w.position, bases[e.job] + e.place
            )
            UPDATE history SET position = taken.seq, processed_at = taken.processed_at
            FROM taken WHERE history.log = taken.log AND history.position = taken.position;
        END IF;
    END IF;

    IF p_record_jobs IS NOT NULL THEN
        INSERT INTO sessions (log, workspace, id, thread, agent_id, agent_version, environment_id, status, created_at,
                              updated_at, archived_at, agent, details, usage, stats)
        SELECT logs[r.job], p_workspaces[r.job], p_sessions[r.job], r.thread, r.agent_id, r.agent_version,
               r.environment_id, r.status, r.created, r.updated, r.archived, r.agent, r.details, r.usage, r.stats
        FROM unnest(p_record_jobs, p_record_threads, p_agent_ids, p_agent_versions, p_environment_ids,
                    p_record_statuses, p_created, p_updated, p_archived, p_agents, p_details, p_record_usages,
                    p_record_stats)
             AS r (job, thread, agent_id, agent_version, environment_id, status, created, updated, archived, agent,
                   details, usage, stats)
        WHERE r_verdicts[r.job] = 0 AND p_kinds[r.job] = 4;
        UPDATE sessions SET details = r.details, agent = r.agent, updated_at = r.updated
        FROM unnest(p_record_jobs, p_record_columns, p_details, p_agents, p_updated)
             AS r (job, columns, details, agent, updated)
        WHERE log = logs[r.job] AND r.columns = 'details' AND r_verdicts[r.job] = 0;
        UPDATE sessions SET archived_at = r.archived, status = r.status, updated_at = r.updated
        FROM unnest(p_record_jobs, p_record_columns, p_archived, p_record_statuses, p_updated)
             AS r (job, columns, archived, status, updated)
        WHERE log = logs[r.job] AND r.columns = 'archive' AND r_verdicts[r.job] = 0;
    END IF;

    IF p_patch_jobs IS NOT NULL THEN
        UPDATE sessions SET
            status = coalesce(p.status, sessions.status),
            usage = coalesce(p.usage, sessions.usage),
            stats = coalesce(p.stats, sessions.stats),
            updated_at = coalesce(p.updated, sessions.updated_at)
        FROM unnest(p_patch_jobs, p_statuses, p_usages, p_stats, p_updates) AS p (job, status, usage, stats, updated)
        WHERE log = logs[p.job] AND r_verdicts[p.job] = 0;
    END IF;

    IF p_snapshot_jobs IS NOT NULL THEN
        INSERT INTO snapshots (log, workspace, seq, version, body)
        SELECT logs[s.job], p_workspaces[s.job], s.seq, s.version, s.body
        FROM unnest(p_snapshot_jobs, p_snapshot_seqs, p_snapshot_versions, p_snapshots) AS s (job, seq, version, body)
        WHERE r_verdicts[s.job] = 0
        ON CONFLICT (log) DO UPDATE SET seq = excluded.seq, version = excluded.version, body = excluded.body;
    END IF;

    IF p_answer_jobs IS NOT NULL THEN
        INSERT INTO answers (workspace, idempotency, at, status, body, retries)
        SELECT DISTINCT ON (p_workspaces[a.job] COLLATE "C", a.name COLLATE "C")
               p_workspaces[a.job], a.name, a.at, a.status, a.body, a.retry
        FROM unnest(p_answer_jobs, p_answer_names, p_answer_times, p_answer_statuses, p_answers, p_answer_retries)
             AS a (job, name, at, status, body, retry)
        WHERE r_verdicts[a.job] IN (0, 1)
        ORDER BY p_workspaces[a.job] COLLATE "C", a.name COLLATE "C", a.job DESC
        ON CONFLICT (workspace, idempotency) DO UPDATE
        SET at = excluded.at, status = excluded.status, body = excluded.body,
            retries = answers.retries + excluded.retries;
    END IF;

    IF unwanted <> '{}' THEN
        DELETE FROM wakes WHERE log = ANY (unwanted);
    END IF;

    -- A session that nobody owns is claimed at once if no other has waited longer.
    IF p_workers IS NOT NULL THEN
        FOR job IN 1..jobs LOOP
            CONTINUE WHEN p_workers[job] IS NULL OR r_verdicts[job] > 1;
            UPDATE wakes SET worker = p_workers[job]
            WHERE log = logs[job] AND worker IS NULL
              AND NOT EXISTS (
                  SELECT 1 FROM wakes other
                  WHERE other.worker IS NULL AND other.log <> logs[job] AND other.since <= since_base + job
              );
            CONTINUE WHEN NOT FOUND;
            UPDATE heads SET epoch = epoch + 1 WHERE log = logs[job] RETURNING epoch INTO new_epoch;
            r_epochs[job] := new_epoch;
            r_claimed[job] := true;
        END LOOP;
        IF true = ANY (r_claimed) THEN
            PERFORM take_turns(ARRAY(
                SELECT p_workspaces[c.job] FROM unnest(r_claimed) WITH ORDINALITY AS c (claimed, job)
                WHERE c.claimed ORDER BY c.job
            ));
        END IF;
    END IF;

    IF woken <> '{}' THEN
        SELECT true INTO waiting FROM wakes WHERE log = ANY (woken) AND worker IS NULL LIMIT 1;
    END IF;
    PERFORM tell(p_writer, p_workspaces, p_sessions, r_heads, grown, waiting);

    UPDATE writers SET batch = p_batch, verdicts = r_verdicts, heads = r_heads, writer_heads = r_writer_heads,
        epochs = r_epochs, claimed = r_claimed, answer = NULL
    WHERE writer = p_writer;
END
$$;
