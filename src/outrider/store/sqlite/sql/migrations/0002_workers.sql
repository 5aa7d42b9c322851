-- Who works on this store. `beats` only counts; a buried worker stays as a mark, one short row a process ever started.

CREATE TABLE workers (
    worker TEXT PRIMARY KEY,
    beats INTEGER NOT NULL,
    buried INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX workers_alive ON workers (worker) WHERE buried = 0;
