-- A workspace that is to be erased is marked; one that was is remembered for a while, by its id alone.

ALTER TABLE workspaces ADD COLUMN deleting_at text COLLATE "C";
ALTER TABLE workspaces ADD COLUMN erased_at text COLLATE "C";
