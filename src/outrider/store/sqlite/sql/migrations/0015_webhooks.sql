-- Webhook endpoints, what is to be told to each, and which process tells it. No signing secret is in here.

CREATE TABLE webhooks (
    workspace TEXT NOT NULL,
    id TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    url TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    secret INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    failing_since TEXT,
    body BLOB NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX webhooks_by_time ON webhooks (workspace, created_at, id);
CREATE INDEX webhooks_listening ON webhooks (workspace) WHERE state = 'enabled';

CREATE TABLE deliveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace TEXT NOT NULL,
    webhook TEXT NOT NULL,
    id TEXT NOT NULL,
    event TEXT NOT NULL,
    type TEXT NOT NULL,
    payload TEXT NOT NULL,
    created_at TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    due TEXT NOT NULL,
    tried_at TEXT,
    status INTEGER,
    problem TEXT
);
CREATE UNIQUE INDEX deliveries_by_id ON deliveries (workspace, webhook, id);
CREATE INDEX deliveries_by_time ON deliveries (workspace, webhook, created_at, id);
CREATE INDEX deliveries_due ON deliveries (workspace, webhook, due, seq) WHERE state = 'pending';
CREATE INDEX deliveries_old ON deliveries (created_at) WHERE state <> 'pending';

CREATE TABLE couriers (
    id INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    beats INTEGER NOT NULL
);

-- What changed before there were webhooks is told to nobody.
ALTER TABLE changes ADD COLUMN thread TEXT;
ALTER TABLE changes ADD COLUMN detail TEXT;
ALTER TABLE changes ADD COLUMN told INTEGER NOT NULL DEFAULT 1;
CREATE INDEX changes_untold ON changes (seq) WHERE NOT told;

-- In the transaction of the event itself, and only where a webhook listens. Most rows go no further than the first
-- comparison, which spares them a list to look through.
CREATE TRIGGER events_told AFTER INSERT ON events
WHEN (NEW.type BETWEEN 'session.' AND 'session/' OR NEW.type = 'span.outcome_evaluation_end') AND NEW.type IN (
    'session.created', 'session.updated', 'session.status_running', 'session.status_idle',
    'session.status_rescheduled', 'session.status_terminated', 'session.thread_created', 'session.thread_status_idle',
    'session.thread_status_terminated', 'span.outcome_evaluation_end'
) AND EXISTS (SELECT 1 FROM webhooks WHERE workspace = NEW.workspace AND state = 'enabled')
BEGIN
    INSERT INTO changes (workspace, type, object, at, thread, detail, told)
    SELECT NEW.workspace, NEW.type, heads.session, NEW.processed_at, NEW.thread,
           CASE WHEN NEW.type <> 'session.status_idle' THEN NULL
                WHEN instr(NEW.body, CAST('"stop_reason":{"type":"requires_action"' AS BLOB)) THEN 'requires_action'
                WHEN instr(NEW.body, CAST('"stop_reason":{"type":"budget_reached"' AS BLOB)) THEN 'budget_reached' END,
           0
    FROM heads WHERE heads.log = NEW.log;
END;

CREATE TRIGGER sessions_told AFTER UPDATE OF archived_at ON sessions
WHEN OLD.archived_at IS NULL AND NEW.archived_at IS NOT NULL
    AND EXISTS (SELECT 1 FROM webhooks WHERE workspace = NEW.workspace AND state = 'enabled')
BEGIN
    INSERT INTO changes (workspace, type, object, at, told)
    VALUES (NEW.workspace, 'session.archived', NEW.id, NEW.archived_at, 0);
END;
