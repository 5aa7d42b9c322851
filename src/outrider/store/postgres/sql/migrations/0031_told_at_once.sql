-- What a batch has grown is told in one sentence where it fits, which is put together by one query instead of a loop.

CREATE OR REPLACE FUNCTION tell(
    p_writer text, p_workspaces text[], p_sessions text[], p_heads bigint[], p_grown int[], p_waiting boolean
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    job int;
    entry text;
    list text := '';
    opening CONSTANT text := '{"from":' || to_json(p_writer) || ',"heads":[';
BEGIN
    IF cardinality(p_grown) > 100 THEN
        PERFORM pg_notify('outrider_heads', opening || ']}');
    ELSIF p_grown <> '{}' THEN
        SELECT string_agg(json_build_array(p_workspaces[g.job], p_sessions[g.job], p_heads[g.job])::text, ',')
        INTO list FROM unnest(p_grown) AS g (job);
        IF octet_length(list) > 7500 THEN
            list := '';
            FOREACH job IN ARRAY p_grown LOOP
                entry := json_build_array(p_workspaces[job], p_sessions[job], p_heads[job]);
                IF octet_length(list) + octet_length(entry) > 7500 THEN
                    PERFORM pg_notify('outrider_heads', opening || list || ']}');
                    list := '';
                END IF;
                list := CASE WHEN list = '' THEN entry ELSE list || ',' || entry END;
            END LOOP;
        END IF;
        PERFORM pg_notify('outrider_heads', opening || list || ']}');
    END IF;
    IF p_waiting THEN
        PERFORM pg_notify('outrider_wakes', p_writer);
    END IF;
END
$$;
