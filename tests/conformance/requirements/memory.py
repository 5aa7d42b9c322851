"""Memory stores, memories and their versions; what sessions do with them waits for memory in sandboxes."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, docs, met

MEMORY = docs("Using agent memory")

LEDGER = (
    met("memory:beta", "Memory goes by its own beta value or the agents' one; both together are 400.", MEMORY),
    met("memory:store:create", "A store is made from a name of 1 to 255 characters, a description and metadata.", SDK),
    met("memory:store:update", "An update changes what it names; an empty description clears it.", SDK),
    met("memory:store:list", "Stores are listed newest first, archived ones when asked for, within times.", SDK),
    met("memory:store:archive", "Archiving is final, and the same object the second time.", SDK),
    met("memory:store:archived", "An archived store takes no writes, and lets be read, deleted and redacted.", SDK),
    met("memory:store:delete", "Deleting erases the store with its memories and versions.", SDK),
    met("memory:create", "A memory is a text under a path, shown with its hash, size and version.", SDK),
    met("memory:content", "Content is up to 102,400 bytes of UTF-8, empty allowed, never normalised.", SDK),
    met("memory:path", "Paths begin with a slash and have 1 to 20 plain segments, 1,024 bytes at most.", SDK),
    met("memory:path:conflict", "A path that is taken is 409 and names the other memory.", MEMORY),
    met("memory:path:directory", "A path can't be a memory and a directory at once: 409.", INFERRED),
    met("memory:view", "The basic view has no content; full is the default of one memory, basic of the rest.", SDK),
    met("memory:update", "An update changes content, path or both, and keeps the id.", SDK),
    met("memory:update:nothing", "An update that changes nothing writes no version.", INFERRED),
    met("memory:precondition", "A precondition on the content's hash fails with 409, unless all is so already.", SDK),
    met("memory:delete", "Deleting may expect a hash; another one is 409 and deletes nothing.", SDK),
    met("memory:list", "Memories are listed by path, 20 a page, at most 100, and 20 with their content.", SDK),
    met("memory:list:prefix", "A prefix ends with a slash and matches whole segments.", SDK),
    met("memory:list:depth", "Depth 1 shows deeper memories as one prefix item for each directory.", MEMORY),
    met("memory:most", "A store holds 2,000 memories; more are 400, and those that are there can be changed.", MEMORY),
    met("memory:version:list", "Each change is a version, listed newest first, by memory, operation or actor.", SDK),
    met("memory:version:actor", "A version names the key that made it.", SDK),
    met("memory:version:outlives", "Versions stay when their memory is deleted.", MEMORY),
    met("memory:version:redact", "Redaction takes content, path, size and hash, and keeps actor and times.", SDK),
    met("memory:version:redact:head", "A living memory's current version can't be redacted: 400.", INFERRED),
    met("memory:session:resource", "A session's stores are shown as they were at attach time, without an id.", SDK),
    met("memory:session:mount", "They are mounted at `mount_path`: `/mnt/memory/` and a slug of the name.", SDK),
    met("memory:session:read-only", "`read_only`, and `/mnt/memory` itself, are enforced by the file system.", MEMORY),
    met("memory:session:write", "What the agent writes is versions with the session as actor.", SDK),
    met(
        "memory:session:conflict", "Of two writers at the same time the slower one is told; nothing is lost.", INFERRED
    ),
    met("memory:session:shared", "Sessions see what others wrote with their next call.", docs("Self-hosted sandboxes")),
    met("memory:session:limits", "Writes over a limit, or to an archived store, are errors of the call.", MEMORY),
    met("memory:session:worker", "A worker brings the stores; what the agent wrote comes back by the session.", SDK),
    met("memory:session:worker:access", "A work item's token has its session's stores, each with its access.", SDK),
    met("memory:session:prompt", "The system prompt has a section for each store.", MEMORY),
)
