-- So that a workspace is erased without a look at the changes of all others.
CREATE INDEX changes_of_workspace ON changes (workspace);
