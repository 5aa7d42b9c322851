-- Lists of sessions by agent, and by a status that few are in, without passing over all the others.

CREATE INDEX sessions_by_agent ON sessions (workspace, agent_id, created_at, id);
CREATE INDEX sessions_not_idle ON sessions (workspace, status, created_at, id) WHERE status <> 'idle';
