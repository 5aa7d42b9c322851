-- With which key a work item was taken: its token ends with it.
ALTER TABLE work_items ADD COLUMN taken_by TEXT;
