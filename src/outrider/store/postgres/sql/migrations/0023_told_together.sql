-- What webhooks hear of is noted once for each statement that adds events, not row by row: a condition on rows is read
-- anew for each partition in each statement, which took a sixth of the time of an append.

CREATE FUNCTION tell_of_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM webhooks WHERE state = 'enabled') THEN
        INSERT INTO changes (workspace, type, object, at, thread, detail, told)
        SELECT a.workspace, a.type, h.session, a.processed_at, a.thread,
               CASE WHEN a.type <> 'session.status_idle' THEN NULL
                    WHEN position(convert_to('"stop_reason":{"type":"requires_action"', 'UTF8') IN a.body) > 0
                        THEN 'requires_action'
                    WHEN position(convert_to('"stop_reason":{"type":"budget_reached"', 'UTF8') IN a.body) > 0
                        THEN 'budget_reached' END,
               false
        FROM added a JOIN heads h ON h.log = a.log
        WHERE a.type IN (
            'session.created', 'session.updated', 'session.status_running', 'session.status_idle',
            'session.status_rescheduled', 'session.status_terminated', 'session.thread_created',
            'session.thread_status_idle', 'session.thread_status_terminated', 'span.outcome_evaluation_end'
        ) AND EXISTS (SELECT 1 FROM webhooks w WHERE w.workspace = a.workspace AND w.state = 'enabled')
        ORDER BY a.log, a.seq;
    END IF;
    RETURN NULL;
END
$$;
DROP TRIGGER events_told ON events;
CREATE TRIGGER events_told AFTER INSERT ON events REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION tell_of_events();
DROP FUNCTION tell_of_event();
