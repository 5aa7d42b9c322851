"""Skills and their versions; how agents use them is in `connectors`."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, differs, docs, met

SKILLS = docs("Using Agent Skills with the API")

LEDGER = (
    met("skills:create", "A skill is made of an upload; name and description come from its SKILL.md.", SDK),
    met("skills:upload:loose", "Loose files share one top directory, with SKILL.md at its root; else 400.", SDK),
    met("skills:upload:zip", "One zip holds the same, and executable bits are kept.", SKILLS),
    met("skills:upload:hostile", "Escaping, doubled or shadowing names, links, bombs and huge counts are 400.", SDK),
    met("skills:upload:limits", "All files together hold at most 30 MB, uncompressed.", SKILLS),
    met("skills:upload:head", "Name and description keep the rules of their lengths, characters and words.", SKILLS),
    met("skills:display-name", "`display_name` is one line of up to 255 characters, the name by default.", SDK),
    met("skills:retrieve", "A skill shows its display name, latest version and source.", SDK),
    met("skills:list", "Skills are listed newest first, 20 a page, at most 1,000.", SDK),
    met("skills:list:source", "A list may show custom or pre-built skills alone.", SDK),
    met("skills:delete", "Deleting a skill erases it with its versions.", SKILLS),
    met("skills:version:create", "A version is a whole new snapshot, and the latest from then on.", SDK),
    met("skills:version:name", "Every version of a skill has the name of its first one; else 400.", SDK),
    met("skills:version:retrieve", "A version is retrieved by its id or as `latest`.", SDK),
    met("skills:version:list", "A skill's versions are listed newest first.", SDK),
    met("skills:version:delete", "A version can be deleted; `latest` is then the newest that is left.", SDK),
    met("skills:version:delete:last", "A skill's only version can't be deleted: 400.", INFERRED),
    met("skills:version:content", "A version is downloaded as a zip with one directory of the skill's name.", SDK),
    met("skills:version:content:latest", "`latest` names no version in a download or a deletion: 404.", SDK),
    met("skills:idempotent", "A repeated upload gets the first one's answer.", INFERRED),
    met(
        "skills:prebuilt",
        "`docx`, `pdf`, `pptx` and `xlsx` are pre-built skills of the source `anthropic`, with date versions.",
        SKILLS,
        "written for this server, not the hosted service's: they need `python3` alone, and say what libraries add",
    ),
    differs(
        "skills:old-addressing",
        "With the beta `skills-2025-10-02`, versions are addressed by epoch microseconds.",
        SDK,
        "optional in the API: versions are addressed by their ids whatever the beta header says",
    ),
)
