-- Answers from before it was kept what they are about would outlive it. Those about sessions are found by their names, or
-- by what their sessions remember; agents are never deleted.
DELETE FROM answers
WHERE substr(idempotency, 1, 5) <> 'sesn_'
  AND substr(body, 1, 12) <> convert_to('{"id":"sesn_', 'UTF8')
  AND substr(body, 1, 13) <> convert_to('{"id":"agent_', 'UTF8')
  AND (workspace, idempotency) NOT IN (SELECT workspace, idempotency FROM answers_about);
