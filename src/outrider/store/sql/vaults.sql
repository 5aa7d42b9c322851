-- name: insert_vault
-- A new vault.
INSERT INTO vaults (workspace, id, created_at, updated_at, archived_at, body)
VALUES (:workspace, :id, :created_at, :updated_at, :archived_at, :body);

-- name: vault
-- One vault.
SELECT workspace, id, created_at, updated_at, archived_at, body FROM vaults WHERE workspace = :workspace AND id = :id;

-- name: vaults_both_ways
-- A page of a workspace's vaults.
SELECT workspace, id, created_at, updated_at, archived_at, body FROM vaults
WHERE workspace = :workspace AND (created_at, id) < (:after_time, :after_id)
  AND (CAST(:archived AS boolean) OR archived_at IS NULL)
  AND created_at > :gt AND created_at >= :gte AND created_at < :lt AND created_at <= :lte
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: update_vault
-- What clients may change, if it is as they saw it.
UPDATE vaults SET body = :body, updated_at = :updated_at
WHERE workspace = :workspace AND id = :id AND updated_at = :if_updated AND archived_at IS NULL;

-- name: hold_vault
-- Keep an active vault as it is until this transaction's end.
UPDATE vaults SET archived_at = NULL WHERE workspace = :workspace AND id = :id AND archived_at IS NULL;

-- name: archive_vault
-- Archive a vault, once.
UPDATE vaults SET archived_at = :at, updated_at = :at WHERE workspace = :workspace AND id = :id AND archived_at IS NULL;

-- name: delete_vault
-- Forget a vault.
DELETE FROM vaults WHERE workspace = :workspace AND id = :id;

-- name: insert_credential
-- A new credential.
INSERT INTO credentials
    (workspace, vault, id, place, revision, secret, created_at, updated_at, archived_at, body)
VALUES (:workspace, :vault, :id, :place, :revision, :secret, :created_at, :updated_at, :archived_at, :body);

-- name: credential
-- One credential.
SELECT workspace, vault, id, place, revision, secret, created_at, updated_at, archived_at, body FROM credentials
WHERE workspace = :workspace AND vault = :vault AND id = :id;

-- name: credentials_both_ways
-- A page of a vault's credentials.
SELECT workspace, vault, id, place, revision, secret, created_at, updated_at, archived_at, body FROM credentials
WHERE workspace = :workspace AND vault = :vault AND (created_at, id) < (:after_time, :after_id)
  AND (CAST(:archived AS boolean) OR archived_at IS NULL)
  AND created_at > :gt AND created_at >= :gte AND created_at < :lt AND created_at <= :lte
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: active_credentials
-- Those of a vault that are not archived.
SELECT id FROM credentials WHERE workspace = :workspace AND vault = :id AND archived_at IS NULL ORDER BY id;

-- name: all_credentials
-- All those of a vault.
SELECT id FROM credentials WHERE workspace = :workspace AND vault = :id ORDER BY id;

-- name: place_taken
-- Whether an active credential of a vault has this place.
SELECT 1 AS found FROM credentials
WHERE workspace = :workspace AND vault = :vault AND place = :place AND archived_at IS NULL;

-- name: credential_at
-- The active credential with a place in one vault.
SELECT workspace, vault, id, place, revision, secret, created_at, updated_at, archived_at, body FROM credentials
WHERE workspace = :workspace AND vault = :vault AND place = :place AND archived_at IS NULL;

-- name: update_credential
-- What clients may change, if it is as they saw it.
UPDATE credentials SET body = :body, secret = :secret, revision = :revision, updated_at = :updated_at
WHERE workspace = :workspace AND vault = :vault AND id = :id AND revision = :if_revision AND archived_at IS NULL;

-- name: archive_credential
-- Archive a credential, once.
UPDATE credentials SET archived_at = :at, updated_at = :at, revision = revision + 1
WHERE workspace = :workspace AND vault = :vault AND id = :id AND archived_at IS NULL;

-- name: delete_credential
-- Forget a credential.
DELETE FROM credentials WHERE workspace = :workspace AND vault = :vault AND id = :id;

-- name: secret_refs
-- Which secrets belong to an active credential or a webhook, in all workspaces.
SELECT workspace, vault, id, secret FROM credentials WHERE archived_at IS NULL
UNION ALL SELECT workspace, 'webhooks', id, secret FROM webhooks;

-- name: insert_change
-- A change. Where no webhook listens, nobody is to be told of it.
INSERT INTO changes (workspace, type, object, at, vault, thread, detail, told)
SELECT :workspace, :type, :object, :at, :vault, :thread, :detail,
       NOT EXISTS (SELECT 1 FROM webhooks WHERE workspace = :workspace AND state = 'enabled');

-- name: changes
-- Changes of all workspaces, oldest first.
SELECT workspace, type, object, at, vault, thread, detail, seq FROM changes WHERE seq > :after ORDER BY seq LIMIT :limit;
