-- Sessions at work are few among many: so that the watchdog finds those whom nobody attends without reading all.

CREATE INDEX sessions_at_work ON sessions (log) WHERE status IN ('running', 'rescheduling');
