"""What the built-in tools do with their input, as the model sees it."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, docs, met, not_yet

LEDGER = (
    # bash
    met(
        "tools:bash:shell-lasts",
        "One shell lives from call to call: directory and variables stay.",
        SDK,
    ),
    met(
        "tools:bash:restart",
        "`restart: true` starts a new shell and answers `bash session restarted`.",
        SDK,
    ),
    met(
        "tools:bash:timeout:default",
        "A command may run 120 s, unless `timeout_ms` says otherwise.",
        SDK,
    ),
    met(
        "tools:bash:timeout:expired",
        "On expiry the shell is killed and the error result says `bash command timed out after Ns`.",
        SDK,
    ),
    met(
        "tools:bash:merged-output",
        "Output and error output are merged in order and terminal escapes are taken out.",
        SDK,
    ),
    met(
        "tools:bash:truncated",
        "The last 100 KiB of output are kept, after a marker `[output truncated]`.",
        SDK,
    ),
    met(
        "tools:bash:stdin",
        "A command's standard input is empty.",
        SDK,
    ),
    met(
        "tools:bash:exit-code",
        "A non-zero exit is an error result with the output.",
        SDK,
    ),
    met(
        "tools:bash:no-command",
        "Neither `command` nor `restart` is an error result.",
        SDK,
    ),
    met(
        "tools:bash:no-anthropic-variables",
        "No `ANTHROPIC_*` variable is in a command's environment.",
        SDK,
    ),
    not_yet(
        "tools:bash:per-thread",
        "Threads have shells of their own over one file system.",
        INFERRED,
        "waits for multiagent sessions",
    ),
    # File tools
    met(
        "tools:read:text",
        "`read` returns the text of a UTF-8 file.",
        SDK,
    ),
    met(
        "tools:read:view-range",
        "`view_range` is 1-based and inclusive; an end of 0 or less means the end of the file.",
        SDK,
    ),
    met(
        "tools:read:too-large",
        "Reading a whole file over 256 KiB is an error that suggests `view_range`.",
        SDK,
    ),
    met(
        "tools:read:not-utf8",
        "A file that isn't UTF-8 text, an image or a PDF is an error result.",
        SDK,
    ),
    met(
        "tools:read:image",
        "An image is returned as an image block, up to 5 MiB as base64.",
        SDK,
    ),
    met(
        "tools:read:pdf",
        "A PDF is returned as a document block, up to 20 MiB.",
        SDK,
    ),
    met(
        "tools:read:range-of-media",
        "`view_range` with an image or a PDF is an error result.",
        SDK,
    ),
    met(
        "tools:read:special",
        "Directories, devices and the like are refused.",
        SDK,
    ),
    met(
        "tools:write:creates",
        "`write` makes missing parents, overwrites, and says how many bytes went where.",
        SDK,
    ),
    met(
        "tools:edit:unique",
        "`edit` replaces one exact match; none, or several without `replace_all`, is an error result.",
        SDK,
    ),
    met(
        "tools:edit:replace-all",
        "`replace_all` replaces every match and the result says how many.",
        SDK,
    ),
    met(
        "tools:glob:newest-first",
        "`glob` lists at most 200 paths, newest first, `**` included.",
        SDK,
    ),
    met(
        "tools:glob:none",
        "`glob` and `grep` without a hit answer `no matches`.",
        SDK,
    ),
    met(
        "tools:glob:refused",
        "`glob` refuses absolute patterns and `..`.",
        SDK,
    ),
    met(
        "tools:grep:lines",
        "`grep` answers `path:line:text`, at most 100 KiB.",
        SDK,
    ),
    met(
        "tools:grep:skips",
        "`grep` leaves out `.git`, `node_modules`, binary files and lines over 2,000 characters.",
        SDK,
    ),
    # All of them
    met(
        "tools:result:empty",
        "An empty result is the text `(no output)`.",
        SDK,
    ),
    met(
        "tools:result:error",
        "A tool's failure is a result with `is_error`, never a session error.",
        SDK,
    ),
    met(
        "tools:result:bad-input",
        "A call whose input doesn't fit the tool's schema is an error result.",
        INFERRED,
    ),
    met(
        "tools:result:long",
        "A result over 100,000 characters goes to a file; the model gets a preview and the path.",
        docs("Tools"),
    ),
    met(
        "tools:call:not-enabled",
        "A call of a tool that isn't enabled is denied without an evaluation and gets an error result.",
        SDK,
    ),
    met(
        "tools:paths:workspace",
        "The working directory is `/workspace`.",
        docs("Cloud sandbox reference"),
    ),
    met(
        "tools:paths:outputs",
        "Deliverables go to `/mnt/session/outputs`.",
        docs("Cloud sandbox reference"),
    ),
    met(
        "tools:paths:uploads",
        "Uploads are at `/mnt/session/uploads`, read-only.",
        docs("Adding files"),
    ),
    met(
        "tools:paths:memory",
        "Memory stores are under `/mnt/memory`.",
        docs("Cloud sandbox reference"),
    ),
    met(
        "tools:paths:confined",
        "The file tools reach only what the sandbox shows them.",
        SDK,
    ),
)
