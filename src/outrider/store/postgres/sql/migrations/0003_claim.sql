-- Claims in fair turns: one session a workspace and round, the workspace longest without a turn first, each one's longest
-- waiting session first. What another process is just taking is passed over. Locks: wakes, heads by log, turns.
CREATE FUNCTION claim_waiting(p_worker text, p_limit int)
RETURNS TABLE (workspace text, session text, epoch bigint, head bigint, writer_head bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    place record;
    picked bigint[] := '{}';
    served text[] := '{}';
    before int;
    longest bigint;
BEGIN
    LOOP
        before := cardinality(picked);
        FOR place IN
            WITH RECURSIVE waiting (name) AS (
                SELECT min(w.workspace COLLATE "C") FROM wakes w WHERE w.worker IS NULL
                UNION ALL
                SELECT (
                    SELECT min(w.workspace COLLATE "C") FROM wakes w
                    WHERE w.worker IS NULL AND w.workspace > waiting.name
                )
                FROM waiting WHERE waiting.name IS NOT NULL
            )
            SELECT waiting.name FROM waiting LEFT JOIN turns t ON t.workspace = waiting.name
            WHERE waiting.name IS NOT NULL
            ORDER BY coalesce(t.served, 0), waiting.name
        LOOP
            EXIT WHEN cardinality(picked) >= p_limit;
            SELECT w.log INTO longest FROM wakes w
            WHERE w.worker IS NULL AND w.workspace = place.name
            ORDER BY w.since LIMIT 1 FOR UPDATE SKIP LOCKED;
            CONTINUE WHEN NOT FOUND;
            UPDATE wakes SET worker = p_worker WHERE log = longest;
            picked := picked || longest;
            served := served || place.name::text;
        END LOOP;
        EXIT WHEN cardinality(picked) >= p_limit OR cardinality(picked) = before;
    END LOOP;
    IF picked = '{}' THEN
        RETURN;
    END IF;
    PERFORM 1 FROM heads h WHERE h.log = ANY (picked) ORDER BY h.log FOR UPDATE;
    UPDATE heads SET epoch = epoch + 1 WHERE log = ANY (picked);
    PERFORM take_turns(served);
    RETURN QUERY
        SELECT h.workspace, h.session, h.epoch, h.head, h.writer_head
        FROM unnest(picked) WITH ORDINALITY AS p (log, n) JOIN heads h ON h.log = p.log ORDER BY p.n;
END
$$;
