-- As what (state, round and beats) a work item was seen to stand: what a server of an earlier version changes meanwhile
-- does not look as if it had stood for so long already.
ALTER TABLE work_items ADD COLUMN stood_as text COLLATE "C";
