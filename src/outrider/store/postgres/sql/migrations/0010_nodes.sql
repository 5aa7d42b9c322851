-- A session whose files are on another living server's own disk is left to that server, whoever would claim it.

-- Whether the session's place is the node of a worker that lives, and not this worker's (`node/process`) own.
CREATE FUNCTION lives_elsewhere(p_log bigint, p_worker text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT 1 FROM heads h
        JOIN placements p ON p.session = h.session AND p.host <> split_part(p_worker, '/', 1)
        JOIN workers k ON NOT k.buried
            AND k.worker >= (p.host || '/') COLLATE "C" AND k.worker < (p.host || '0') COLLATE "C"
        WHERE h.log = p_log
    )
$$;

-- Whatever statement claims, also one of the release before: the row stays as it is.
CREATE FUNCTION leave_to_its_node() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RETURN NULL;
END
$$;

CREATE TRIGGER wakes_claimed BEFORE UPDATE OF worker ON wakes FOR EACH ROW
WHEN (OLD.worker IS NULL AND NEW.worker IS NOT NULL AND lives_elsewhere(NEW.log, NEW.worker))
EXECUTE FUNCTION leave_to_its_node();

-- As before, but passes over what it must leave to others, so that this can't keep it from the rest.
CREATE OR REPLACE FUNCTION claim_waiting(p_worker text, p_limit int)
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
            WHERE w.worker IS NULL AND w.workspace = place.name AND NOT lives_elsewhere(w.log, p_worker)
            ORDER BY w.since LIMIT 1 FOR UPDATE SKIP LOCKED;
            CONTINUE WHEN NOT FOUND;
            UPDATE wakes SET worker = p_worker WHERE log = longest;
            CONTINUE WHEN NOT FOUND;
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
