-- name: insert_skill
-- A new skill.
INSERT INTO skills (workspace, id, created_at, updated_at, name, display_name, latest)
VALUES (:workspace, :id, :created_at, :updated_at, :name, :display_name, :latest);

-- name: insert_skill_version
-- One of its versions.
INSERT INTO skill_versions (workspace, skill, id, created_at, name, description, size)
VALUES (:workspace, :skill, :id, :created_at, :name, :description, :size);

-- name: hold_skill
-- Take a skill's row, so that changes of its versions follow one another; it says which name they have.
UPDATE skills SET id = id WHERE workspace = :workspace AND id = :skill
RETURNING name;

-- name: point_to_latest
-- The newest version that there is.
UPDATE skills SET updated_at = :at, latest = (
    SELECT id FROM skill_versions WHERE workspace = :workspace AND skill = :skill
    ORDER BY created_at DESC, id DESC LIMIT 1)
WHERE workspace = :workspace AND id = :skill;

-- name: skill
-- One skill.
SELECT workspace, id, created_at, updated_at, name, display_name, latest FROM skills
WHERE workspace = :workspace AND id = :id;

-- name: skills_both_ways
-- A page of a workspace's skills.
SELECT workspace, id, created_at, updated_at, name, display_name, latest FROM skills
WHERE workspace = :workspace AND (created_at, id) < (:after_time, :after_id)
  AND created_at > :gt AND created_at >= :gte AND created_at < :lt AND created_at <= :lte
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: skill_version
-- One version.
SELECT workspace, skill, id, created_at, name, description, size FROM skill_versions
WHERE workspace = :workspace AND skill = :skill AND id = :id;

-- name: skill_versions_both_ways
-- A page of a skill's versions.
SELECT workspace, skill, id, created_at, name, description, size FROM skill_versions
WHERE workspace = :workspace AND skill = :skill AND (created_at, id) < (:after_time, :after_id)
  AND created_at > :gt AND created_at >= :gte AND created_at < :lt AND created_at <= :lte
ORDER BY created_at DESC, id DESC LIMIT :limit;

-- name: all_skill_versions
-- What goes with a skill.
SELECT id, size FROM skill_versions WHERE workspace = :workspace AND skill = :skill;

-- name: delete_skill
-- Forget a skill.
DELETE FROM skills WHERE workspace = :workspace AND id = :skill;

-- name: delete_skill_versions
-- All versions of it.
DELETE FROM skill_versions WHERE workspace = :workspace AND skill = :skill;

-- name: delete_skill_version
-- One of them.
DELETE FROM skill_versions WHERE workspace = :workspace AND skill = :skill AND id = :id;
