-- What is looked for each minute is found without passing over all sessions that have a store.
ALTER TABLE memory_attachments ADD COLUMN orphaned_at text;
UPDATE memory_attachments SET orphaned_at = created_at WHERE NOT EXISTS (
    SELECT 1 FROM memory_stores m WHERE m.workspace = memory_attachments.workspace AND m.id = memory_attachments.store
);
CREATE INDEX memory_attachments_orphaned ON memory_attachments (workspace, store, session)
    WHERE orphaned_at IS NOT NULL AND erased_at IS NULL;
CREATE INDEX memory_attachments_by_time ON memory_attachments (created_at);
