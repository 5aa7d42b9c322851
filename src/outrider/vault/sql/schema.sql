-- What the vault keeps: secrets, each sealed; which key and which round of rekeying is current; what others must hear.
CREATE TABLE IF NOT EXISTS state (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS secrets (
    workspace TEXT NOT NULL,
    vault TEXT NOT NULL,
    credential TEXT NOT NULL,
    version INTEGER NOT NULL,
    round INTEGER NOT NULL,
    key TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    nonce BLOB NOT NULL,
    ciphertext BLOB NOT NULL,
    PRIMARY KEY (workspace, vault, credential, version)
);
CREATE INDEX IF NOT EXISTS secrets_by_round ON secrets (round);

CREATE TABLE IF NOT EXISTS notices (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace TEXT NOT NULL,
    vault TEXT NOT NULL,
    credential TEXT NOT NULL,
    version INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at TEXT NOT NULL,
    expires_at TEXT
);
