-- A cold log's rows lie in the blob store; `segment` says where (JSON), NULL that they are here. Whoever would add rows
-- to one is stopped here, whatever release it is of.

ALTER TABLE heads ADD COLUMN segment text;

CREATE FUNCTION refuse_cold() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is cold' USING ERRCODE = 'triggered_data_change_violation';
END
$$;

CREATE TRIGGER heads_cold BEFORE UPDATE OF head ON heads FOR EACH ROW
WHEN (OLD.segment IS NOT NULL AND NEW.head <> OLD.head) EXECUTE FUNCTION refuse_cold();
