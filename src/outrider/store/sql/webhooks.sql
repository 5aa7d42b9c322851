-- name: insert_webhook
-- A new endpoint.
INSERT INTO webhooks
    (workspace, id, created_at, updated_at, url, state, reason, secret, failures, failing_since, body)
VALUES (:workspace, :id, :created_at, :updated_at, :url, :state, :reason, :secret, :failures, :failing_since, :body);

-- name: webhook
-- One endpoint.
SELECT workspace, id, created_at, updated_at, url, state, reason, secret, failures, failing_since, body
FROM webhooks WHERE workspace = :workspace AND id = :id;

-- name: webhooks_both_ways
-- A page of a workspace's endpoints.
SELECT workspace, id, created_at, updated_at, url, state, reason, secret, failures, failing_since, body
FROM webhooks
WHERE workspace = :workspace AND (created_at, id) < (:after_time, :after_id)
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: count_webhooks
-- How many a workspace has.
SELECT count(*) FROM webhooks WHERE workspace = :workspace;

-- name: hold_workspace_of_webhooks
-- Two endpoints of a workspace are not made at once, so that they can be counted.
UPDATE workspaces SET id = id WHERE id = :workspace;

-- name: update_webhook
-- What clients may change, if it is as they saw it.
UPDATE webhooks
SET url = :url, body = :body, secret = :secret, reason = :reason, updated_at = :updated_at,
    failures = CASE WHEN state = :state THEN failures ELSE 0 END,
    failing_since = CASE WHEN state = :state THEN failing_since END,
    state = :state
WHERE workspace = :workspace AND id = :id AND updated_at = :if_updated;

-- name: delete_webhook
-- Forget an endpoint,
DELETE FROM webhooks WHERE workspace = :workspace AND id = :id;

-- name: delete_deliveries
-- and all that was, or was to be, told to it.
DELETE FROM deliveries WHERE workspace = :workspace AND webhook = :id;

-- name: drop_pending
-- Nothing more is told to an endpoint that is disabled.
UPDATE deliveries SET state = 'failed', problem = :problem
WHERE workspace = :workspace AND webhook = :id AND state = 'pending';

-- name: listening
-- A workspace's endpoints that are told things.
SELECT id, body FROM webhooks WHERE workspace = :workspace AND state = 'enabled' ORDER BY created_at, id;

-- name: untold
-- Whether a change waits to be told.
SELECT 1 FROM changes WHERE NOT told LIMIT 1;

-- name: take_changes
-- The oldest changes that nobody has been told of, of one workspace or (NULL) of all; each is taken once.
UPDATE changes SET told = CAST(1 AS boolean)
WHERE NOT told AND seq IN (
    SELECT seq FROM changes
    WHERE NOT told AND (CAST(:workspace AS text) IS NULL OR workspace = :workspace)
    ORDER BY seq LIMIT :limit
)
RETURNING workspace, type, object, at, vault, thread, detail, seq;

-- name: insert_delivery
-- One event for one endpoint.
INSERT INTO deliveries
    (workspace, webhook, id, event, type, payload, created_at, state, attempts, due, tried_at, status, problem)
VALUES (:workspace, :webhook, :id, :event, :type, :payload, :created_at, :state, :attempts, :due, :tried_at, :status,
    :problem);

-- name: webhooks_due
-- Endpoints for which a delivery is due. What seems to be due later than any pause lasts is due: a clock was set back.
SELECT workspace, id, created_at, updated_at, url, state, reason, secret, failures, failing_since, body
FROM webhooks w
WHERE state = 'enabled' AND EXISTS (
    SELECT 1 FROM deliveries d
    WHERE d.workspace = w.workspace AND d.webhook = w.id AND d.state = 'pending' AND (d.due <= :now OR d.due > :beyond)
)
ORDER BY workspace, id;

-- name: due
-- The deliveries of an endpoint that are due.
SELECT workspace, webhook, id, event, type, payload, created_at, state, attempts, due, tried_at, status, problem
FROM deliveries
WHERE workspace = :workspace AND webhook = :id AND state = 'pending' AND (due <= :now OR due > :beyond)
ORDER BY due, seq LIMIT :limit;

-- name: settle_delivery
-- What came of an attempt.
UPDATE deliveries
SET state = :state, attempts = :attempts, due = :due, tried_at = :tried_at, status = :status, problem = :problem
WHERE workspace = :workspace AND webhook = :webhook AND id = :id AND state = 'pending';

-- name: webhook_answered
-- A 2xx ends every row of failures.
UPDATE webhooks SET failures = 0, failing_since = NULL
WHERE workspace = :workspace AND id = :webhook AND failing_since IS NOT NULL;

-- name: webhook_failed
-- One more attempt, or (1) one more event that was given up, since the last 2xx.
UPDATE webhooks SET failures = failures + :dropped, failing_since = coalesce(failing_since, :at)
WHERE workspace = :workspace AND id = :webhook AND state = 'enabled';

-- name: disable_webhook
-- By ourselves, with the reason.
UPDATE webhooks SET state = 'disabled', reason = :reason, updated_at = :at
WHERE workspace = :workspace AND id = :webhook AND state = 'enabled';

-- name: delivery
-- One delivery.
SELECT workspace, webhook, id, event, type, payload, created_at, state, attempts, due, tried_at, status, problem
FROM deliveries WHERE workspace = :workspace AND webhook = :webhook AND id = :id;

-- name: deliveries_newest_first
-- A page of an endpoint's deliveries.
SELECT workspace, webhook, id, event, type, payload, created_at, state, attempts, due, tried_at, status, problem
FROM deliveries
WHERE workspace = :workspace AND webhook = :webhook AND (created_at, id) < (:after_time, :after_id)
  AND (CAST(:state AS text) IS NULL OR state = :state)
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: resend
-- Once more, from the beginning.
UPDATE deliveries SET state = 'pending', attempts = 0, due = :now
WHERE workspace = :workspace AND webhook = :webhook AND id = :id AND state <> 'pending';

-- name: forget_deliveries
-- Of those that are settled, the old ones.
DELETE FROM deliveries WHERE created_at < :before AND state <> 'pending';

-- name: forget_changes
-- Old changes that were told, or that nobody wanted to hear. The newest stays: it says that the records are not new.
DELETE FROM changes WHERE told AND at < :before AND seq < (SELECT max(seq) FROM changes);

-- name: last_change
-- The newest change's number.
SELECT coalesce(max(seq), 0) FROM changes;

-- name: forget_changes_of
-- Those of a session that came after another one.
DELETE FROM changes WHERE workspace = :workspace AND object = :session AND seq > :after;

-- name: courier
-- Who tells, and its sign of life.
SELECT owner, epoch, beats FROM couriers WHERE id = 1;

-- name: first_courier
-- A row to compare with.
INSERT INTO couriers (id, owner, epoch, beats) VALUES (1, '', 0, 0) ON CONFLICT (id) DO NOTHING;

-- name: appoint
-- In the place of an owner that is silent, or has gone; fences it off.
UPDATE couriers SET owner = :owner, epoch = epoch + 1, beats = 0
WHERE id = 1 AND epoch = :if_epoch AND (owner = '' OR beats = :if_beats);

-- name: beat_courier
-- A sign of life; also what each of its changes is bound to.
UPDATE couriers SET beats = beats + :count WHERE id = 1 AND owner = :owner AND epoch = :epoch;

-- name: resign_courier
-- Others needn't wait.
UPDATE couriers SET owner = '' WHERE id = 1 AND owner = :owner AND epoch = :epoch;
