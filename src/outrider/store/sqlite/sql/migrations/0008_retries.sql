-- How often an answer under a name was given to a retry: a first attempt that was held up must not be taken after one.

ALTER TABLE answers ADD COLUMN retries INTEGER NOT NULL DEFAULT 0;
