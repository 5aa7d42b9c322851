-- What stored answers are about, so that they go with it.

CREATE TABLE answers_about (
    workspace text COLLATE "C" NOT NULL,
    thing text COLLATE "C" NOT NULL,
    idempotency text COLLATE "C" NOT NULL,
    at text COLLATE "C" NOT NULL,
    PRIMARY KEY (workspace, thing, idempotency)
);
CREATE INDEX answers_about_by_time ON answers_about (at);
