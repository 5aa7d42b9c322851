-- Each statement that adds events opens each partition that it adds to: with 64 of them that was a seventh of the server's
-- work for a batch. A database with few events gets 16; a large one stays as it is, and works as well.

DO $$
BEGIN
    LOCK TABLE events IN ACCESS EXCLUSIVE MODE;
    IF (SELECT count(*) FROM (SELECT FROM events LIMIT 100001) AS few) > 100000 THEN
        RETURN;
    END IF;
    CREATE TABLE events_before AS SELECT * FROM events;
    DROP TABLE events;
    CREATE TABLE events (
        log bigint NOT NULL,
        seq bigint NOT NULL,
        id text COLLATE "C" NOT NULL,
        workspace text COLLATE "C" NOT NULL,
        type text COLLATE "C" NOT NULL,
        thread text COLLATE "C" NOT NULL,
        public boolean NOT NULL,
        epoch bigint NOT NULL,
        processed_at text COLLATE "C",
        processes text COLLATE "C",
        body bytea NOT NULL,
        PRIMARY KEY (log, seq),
        UNIQUE (id, log),
        CHECK (processes IS NULL OR (NOT public AND processed_at IS NOT NULL))
    ) PARTITION BY HASH (log);
    FOR part IN 0..15 LOOP
        EXECUTE format(
            'CREATE TABLE events_%s PARTITION OF events FOR VALUES WITH (MODULUS 16, REMAINDER %s)', part, part
        );
    END LOOP;
    INSERT INTO events (log, seq, id, workspace, type, thread, public, epoch, processed_at, processes, body)
    SELECT log, seq, id, workspace, type, thread, public, epoch, processed_at, processes, body FROM events_before;
    DROP TABLE events_before;
    CREATE TRIGGER events_told AFTER INSERT ON events REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION tell_of_events();
END
$$;
