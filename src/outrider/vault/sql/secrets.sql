-- name: state
SELECT value FROM state WHERE name = :name;

-- name: set_state
INSERT INTO state (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: secret
SELECT key, wrapped, nonce, ciphertext FROM secrets
WHERE workspace = :workspace AND vault = :vault AND credential = :credential AND version = :version;

-- name: newest_secret
SELECT version FROM secrets WHERE workspace = :workspace AND vault = :vault AND credential = :credential
ORDER BY version DESC LIMIT 1;

-- name: put_secret
INSERT INTO secrets (workspace, vault, credential, version, round, key, wrapped, nonce, ciphertext)
VALUES (:workspace, :vault, :credential, :version, :round, :key, :wrapped, :nonce, :ciphertext)
ON CONFLICT (workspace, vault, credential, version) DO UPDATE
SET round = excluded.round, key = excluded.key, wrapped = excluded.wrapped, nonce = excluded.nonce,
    ciphertext = excluded.ciphertext;

-- name: rewrap_secret
UPDATE secrets SET round = :round, key = :key, wrapped = :wrapped
WHERE workspace = :workspace AND vault = :vault AND credential = :credential AND version = :version
  AND ciphertext = :ciphertext AND round < :round;

-- name: purge_secret
DELETE FROM secrets
WHERE workspace = :workspace AND vault = :vault AND credential = :credential
  AND version <= :version AND version >= :oldest;

-- name: secret_refs
SELECT workspace, vault, credential, version FROM secrets WHERE vault <> 'declared';

-- name: kind_refs
SELECT workspace, vault, credential, version FROM secrets WHERE vault = :kind;

-- name: of_older_rounds
SELECT workspace, vault, credential, version, key, wrapped, nonce, ciphertext FROM secrets
WHERE round < :round ORDER BY workspace, vault, credential, version LIMIT :limit;

-- name: keys_in_use
SELECT DISTINCT key FROM secrets;

-- name: add_notice
INSERT INTO notices (workspace, vault, credential, version, kind, at, expires_at)
VALUES (:workspace, :vault, :credential, :version, :kind, :at, :expires_at);

-- name: notices
SELECT seq, workspace, vault, credential, version, kind, at, expires_at FROM notices ORDER BY seq LIMIT :limit;

-- name: forget_notices
DELETE FROM notices WHERE seq <= :seq;
