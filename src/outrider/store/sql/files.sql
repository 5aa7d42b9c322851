-- name: announce_file
-- Bytes are going to be written.
INSERT INTO announced_files (workspace, id, at) VALUES (:workspace, :id, :at);

-- name: file_known
-- Whether an id was used before.
SELECT 1 AS found FROM files WHERE workspace = :workspace AND id = :id
UNION ALL SELECT 1 FROM announced_files WHERE workspace = :workspace AND id = :id;

-- name: take_announced
-- What was announced is whole now.
DELETE FROM announced_files WHERE workspace = :workspace AND id = :id AND abandoned = FALSE;

-- name: insert_file
-- A file.
INSERT INTO files (workspace, id, created_at, expires_at, session, filename, mime_type, size, downloadable, counted, blob)
VALUES (:workspace, :id, :created_at, :expires_at, :session, :filename, :mime_type, :size, :downloadable, :counted,
        :blob);

-- name: open_storage
-- A workspace's first file.
INSERT INTO storage (workspace, bytes) VALUES (:workspace, 0) ON CONFLICT (workspace) DO NOTHING;

-- name: grow_storage
-- Room for one more file, if there is any.
UPDATE storage SET bytes = bytes + :size WHERE workspace = :workspace AND bytes + :size <= :most_bytes;

-- name: shrink_storage
-- Room that a file leaves.
UPDATE storage SET bytes = bytes - :size WHERE workspace = :workspace;

-- name: stored_bytes
-- What a workspace's counted files hold.
SELECT bytes FROM storage WHERE workspace = :workspace;

-- name: file
-- One file.
SELECT workspace, id, created_at, expires_at, session, filename, mime_type, size, downloadable, counted, blob
FROM files WHERE workspace = :workspace AND id = :id;

-- name: hold_file
-- Keep a file as it is until this transaction's end.
UPDATE files SET size = size WHERE workspace = :workspace AND id = :id;

-- name: files_both_ways
-- A page of a workspace's files.
SELECT workspace, id, created_at, expires_at, session, filename, mime_type, size, downloadable, counted, blob
FROM files
WHERE workspace = :workspace AND (created_at, id) < (:after_time, :after_id)
  AND created_at > :gt AND created_at >= :gte AND created_at < :lt AND created_at <= :lte
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: files_of_session_both_ways
-- A page of a session's files.
SELECT workspace, id, created_at, expires_at, session, filename, mime_type, size, downloadable, counted, blob
FROM files
WHERE workspace = :workspace AND session = :session AND (created_at, id) < (:after_time, :after_id)
  AND created_at > :gt AND created_at >= :gte AND created_at < :lt AND created_at <= :lte
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: delete_file
-- Forget a file.
DELETE FROM files WHERE workspace = :workspace AND id = :id;

-- name: blob_in_use
-- Whether any file has these bytes.
SELECT 1 AS found FROM files WHERE workspace = :workspace AND blob = :blob LIMIT 1;

-- name: expired_files
-- Files whose time is over, and that still have bytes, or that are to be forgotten.
SELECT workspace, id, created_at, expires_at, session, filename, mime_type, size, downloadable, counted, blob
FROM files WHERE expires_at <= :now AND (blob IS NOT NULL OR expires_at <= :forget);

-- name: expire_file
-- Let go of its bytes; they are not counted any more.
UPDATE files SET blob = NULL, counted = FALSE WHERE workspace = :workspace AND id = :id AND blob IS NOT NULL;

-- name: abandon_announced
-- Who wrote these is taken for dead; if not, they write in vain.
UPDATE announced_files SET abandoned = TRUE WHERE at < :before AND abandoned = FALSE;

-- name: abandoned_files
-- Announcements whose bytes are to be erased.
SELECT workspace, id FROM announced_files WHERE abandoned = TRUE;

-- name: forget_announced
-- Nothing becomes of their bytes.
DELETE FROM announced_files WHERE workspace = :workspace AND id = :id;

-- name: owns_bytes
-- Whether something leads to this owner's bytes.
SELECT 1 AS found FROM files WHERE workspace = :workspace AND blob = :blob
UNION ALL SELECT 1 FROM announced_files WHERE workspace = :workspace AND id = :blob
UNION ALL SELECT 1 FROM skill_versions WHERE workspace = :workspace AND id = :blob LIMIT 1;

-- name: hold_epoch
-- Keep a session's owner as it is until this transaction's end.
UPDATE heads SET epoch = epoch WHERE workspace = :workspace AND session = :session AND epoch = :epoch;

-- name: outputs
-- What became of a session's outputs.
SELECT path, file, mark, digest FROM outputs WHERE workspace = :workspace AND session = :session;

-- name: output
-- What became of one of them.
SELECT path, file, mark, digest FROM outputs
WHERE workspace = :workspace AND session = :session AND path = :path;

-- name: put_output
-- What became of one of them now.
INSERT INTO outputs (workspace, session, path, file, mark, digest)
VALUES (:workspace, :session, :path, :file, :mark, :digest)
ON CONFLICT (workspace, session, path) DO UPDATE
SET file = excluded.file, mark = excluded.mark, digest = excluded.digest;

-- name: renew_output
-- The same bytes.
UPDATE outputs SET mark = :mark WHERE workspace = :workspace AND session = :session AND path = :path;

-- name: all_files_of_session
-- What goes with a session.
SELECT workspace, id, created_at, expires_at, session, filename, mime_type, size, downloadable, counted, blob
FROM files WHERE workspace = :workspace AND session = :session;

-- name: erase_outputs
-- Forget what became of a session's outputs.
DELETE FROM outputs WHERE workspace = :workspace AND session = :session;
