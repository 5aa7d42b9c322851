-- For how many seconds a work item was seen to stand as it does, so that a server that is started again knows.
ALTER TABLE work_items ADD COLUMN stood INTEGER NOT NULL DEFAULT 0;
