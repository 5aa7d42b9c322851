-- New sessions and the end of what they stand on (environments, agents, vaults) take turns by advisory locks: a change
-- that is no end waits for nobody, and who waits to end something is not overtaken by sessions that come later.

-- Which lock is a thing's, of 256: what shares one waits a little for nothing. They are few because all that are held on
-- a server share one table of a fixed size. Two numbers: locks of one number, as those of answers' names, never meet them.
CREATE FUNCTION lock_of_footing(p_workspace text, p_kind text, p_id text) RETURNS int
LANGUAGE sql IMMUTABLE AS $$
    SELECT hashtext(p_workspace || ' ' || p_kind || ' ' || p_id) & 255
$$;

-- Keeps what new sessions stand on from being ended until this transaction's end, and turns the jobs whose footings are
-- not all there, or archived, into jobs of no kind, on no session, for which `commit_jobs` finds none.
--
-- These locks come first of all, in one order. Then looks a statement of its own: it sees what was ended meanwhile.

CREATE FUNCTION hold_footings(
    p_kinds smallint[], p_workspaces text[], p_sessions text[],
    p_footing_jobs int[], p_footing_kinds text[], p_footings text[],
    OUT r_kinds smallint[], OUT r_sessions text[]
)
LANGUAGE plpgsql AS $$
DECLARE
    fallen int[];
    fallen_job int;
BEGIN
    r_kinds := p_kinds;
    r_sessions := p_sessions;
    PERFORM pg_advisory_xact_lock_shared(1718579060, l.lock) FROM (
        SELECT DISTINCT lock_of_footing(p_workspaces[f.job], f.kind, f.id) AS lock
        FROM unnest(p_footing_jobs, p_footing_kinds, p_footings) AS f (job, kind, id) ORDER BY 1
    ) AS l;
    SELECT coalesce(array_agg(f.job), '{}') INTO fallen
    FROM unnest(p_footing_jobs, p_footing_kinds, p_footings) AS f (job, kind, id)
    WHERE NOT CASE f.kind
        WHEN 'environment' THEN EXISTS (
            SELECT 1 FROM environments e
            WHERE e.workspace = p_workspaces[f.job] AND e.id = f.id AND e.archived_at IS NULL
        )
        WHEN 'agent' THEN EXISTS (
            SELECT 1 FROM agents a
            WHERE a.workspace = p_workspaces[f.job] AND a.id = f.id AND a.archived_at IS NULL
        )
        ELSE EXISTS (
            SELECT 1 FROM vaults v
            WHERE v.workspace = p_workspaces[f.job] AND v.id = f.id AND v.archived_at IS NULL
        )
    END;
    FOREACH fallen_job IN ARRAY fallen LOOP
        r_kinds[fallen_job] := 0;
        r_sessions[fallen_job] := '';
    END LOOP;
END
$$;
