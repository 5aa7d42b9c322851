-- Answers from before it was kept what they are about would outlive it. Those about sessions are found by their names, or
-- by what their sessions remember; agents are never deleted.
DELETE FROM answers
WHERE substr(idempotency, 1, 5) <> 'sesn_'
  AND substr(body, 1, 12) <> CAST('{"id":"sesn_' AS BLOB)
  AND substr(body, 1, 13) <> CAST('{"id":"agent_' AS BLOB)
  AND (workspace, idempotency) NOT IN (SELECT workspace, idempotency FROM answers_about);
