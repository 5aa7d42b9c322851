-- Webhook endpoints, what is to be told to each, and which process tells it. No signing secret is in here.

CREATE TABLE webhooks (
    workspace text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    created_at text COLLATE "C" NOT NULL,
    updated_at text COLLATE "C" NOT NULL,
    url text NOT NULL,
    state text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    secret bigint NOT NULL,
    failures bigint NOT NULL,
    failing_since text COLLATE "C",
    body bytea NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX webhooks_by_time ON webhooks (workspace, created_at, id);
CREATE INDEX webhooks_listening ON webhooks (workspace) WHERE state = 'enabled';

CREATE TABLE deliveries (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace text COLLATE "C" NOT NULL,
    webhook text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    event text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    payload text NOT NULL,
    created_at text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    attempts bigint NOT NULL,
    due text COLLATE "C" NOT NULL,
    tried_at text COLLATE "C",
    status bigint,
    problem text
);
CREATE UNIQUE INDEX deliveries_by_id ON deliveries (workspace, webhook, id);
CREATE INDEX deliveries_by_time ON deliveries (workspace, webhook, created_at, id);
CREATE INDEX deliveries_due ON deliveries (workspace, webhook, due, seq) WHERE state = 'pending';
CREATE INDEX deliveries_old ON deliveries (created_at) WHERE state <> 'pending';

CREATE TABLE couriers (
    id bigint PRIMARY KEY,
    owner text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    beats bigint NOT NULL
);

-- What changed before there were webhooks is told to nobody.
ALTER TABLE changes ADD COLUMN thread text COLLATE "C";
ALTER TABLE changes ADD COLUMN detail text COLLATE "C";
ALTER TABLE changes ADD COLUMN told boolean NOT NULL DEFAULT true;
CREATE INDEX changes_untold ON changes (seq) WHERE NOT told;

-- In the transaction of the event itself, and only where a webhook listens. A restored copy has its events before its
-- webhooks, so that nothing is told twice.
CREATE FUNCTION tell_of_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM webhooks w WHERE w.workspace = NEW.workspace AND w.state = 'enabled') THEN
        INSERT INTO changes (workspace, type, object, at, thread, detail, told)
        SELECT NEW.workspace, NEW.type, h.session, NEW.processed_at, NEW.thread,
               CASE WHEN NEW.type <> 'session.status_idle' THEN NULL
                    WHEN position(convert_to('"stop_reason":{"type":"requires_action"', 'UTF8') IN NEW.body) > 0
                        THEN 'requires_action'
                    WHEN position(convert_to('"stop_reason":{"type":"budget_reached"', 'UTF8') IN NEW.body) > 0
                        THEN 'budget_reached' END,
               false
        FROM heads h WHERE h.log = NEW.log;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER events_told AFTER INSERT ON events FOR EACH ROW
WHEN ((NEW.type >= 'session.' AND NEW.type < 'session/' OR NEW.type = 'span.outcome_evaluation_end') AND NEW.type IN (
    'session.created', 'session.updated', 'session.status_running', 'session.status_idle',
    'session.status_rescheduled', 'session.status_terminated', 'session.thread_created', 'session.thread_status_idle',
    'session.thread_status_terminated', 'span.outcome_evaluation_end'
)) EXECUTE FUNCTION tell_of_event();

CREATE FUNCTION tell_of_archiving() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (workspace, type, object, at, told)
    SELECT NEW.workspace, 'session.archived', NEW.id, NEW.archived_at, false
    WHERE EXISTS (SELECT 1 FROM webhooks w WHERE w.workspace = NEW.workspace AND w.state = 'enabled');
    RETURN NULL;
END
$$;
CREATE TRIGGER sessions_told AFTER UPDATE OF archived_at ON sessions FOR EACH ROW
WHEN (OLD.archived_at IS NULL AND NEW.archived_at IS NOT NULL) EXECUTE FUNCTION tell_of_archiving();
