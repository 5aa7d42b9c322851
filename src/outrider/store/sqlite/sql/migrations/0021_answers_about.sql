-- What stored answers are about, so that they go with it.

CREATE TABLE answers_about (
    workspace TEXT NOT NULL,
    thing TEXT NOT NULL,
    idempotency TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (workspace, thing, idempotency)
);
CREATE INDEX answers_about_by_time ON answers_about (at);
