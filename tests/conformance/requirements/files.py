"""Files: uploaded, listed, described, given out, deleted, expired."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, docs, met

FILES = docs("Files API")

LEDGER = (
    met("files:upload", "A file is uploaded as a form's part `file` and described.", SDK),
    met("files:upload:expires", "`expires_in_seconds` is from an hour to ninety days and sets `expires_at`.", SDK),
    met("files:upload:filename", "Only the last part of a name is kept; an empty one becomes `unnamed`.", SDK),
    met("files:upload:name-rules", "A name has 1 to 255 characters, none of them forbidden.", FILES),
    met("files:upload:too-large", "A file over the limit is 413.", FILES),
    met("files:upload:quota", "A file beyond the storage is 400 `storage_quota_exceeded`.", FILES),
    met("files:upload:retry", "A retry of an upload that was stored makes no second file.", INFERRED),
    met("files:list", "Files are listed newest first, 20 a page unless asked for up to 1000.", SDK),
    met("files:list:cursor", "Cursors begin with `page_`; others are 400.", SDK),
    met("files:list:ids", "`ids[]` names up to 100; unknown ones are left out; no `page` or `limit` beside it.", SDK),
    met("files:list:scope", "`scope_id` lists the files of a session.", SDK),
    met("files:metadata", "A file's metadata can be read.", SDK),
    met("files:content", "What a tool made can be downloaded as it was written.", FILES),
    met("files:content:uploaded", "What was uploaded is not downloadable: 400 `file_not_downloadable`.", FILES),
    met("files:content:expired", "The content of an expired file is 404 `file_expired`; its metadata stays.", FILES),
    met("files:delete", "Deleting erases a file and answers `file_deleted`.", SDK),
    met("files:workspace", "A file is unknown in another workspace.", FILES),
)
