"""A repository's way into a workspace: the command that puts it there, and what it came to. Pure.

The command runs in the sandbox as the agent's own do, and holds no secret.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

TIMEOUT_MS = 600_000
MARK = "outrider-checkout:"
DONE = "done"


def cloned(folder: Mapping[str, Any]) -> dict[str, Any]:
    """What of a folder of the operator's is cloned, in the form of a repository that needs no reading."""
    clone = folder["clone"]
    return {"id": folder["id"], "type": "folder", "url": folder["mount_path"], **clone, "skills": [], "error": None}


def verdict(output: str) -> str | None:
    """What the command came to: empty when it is done, git's words when it failed, None when it did not end."""
    body, mark, rest = output.rpartition(MARK)
    if not mark:
        return None
    return "" if rest.strip() == DONE else body


def command(mount: Mapping[str, Any]) -> str:
    """The bash command that makes the checkout. Done once it is whole: it is cloned beside its place, then moved."""
    checkout: Mapping[str, Any] = mount["checkout"] or {}
    values = {
        "url": mount["url"],
        "path": mount["mount_path"],
        "branch": checkout.get("name", ""),
        "sha": checkout.get("sha", ""),
    }
    setting = "\n".join(f"{name}={shlex.quote(value)}" for name, value in values.items())
    return f"(\n{setting}\n{_BODY})"


_BODY = f"""
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE no_proxy NO_PROXY
export GIT_TERMINAL_PROMPT=0 GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_LFS_SKIP_SMUDGE=1 LC_ALL=C
case "$url" in /*) export GIT_CONFIG_GLOBAL=/etc/gitconfig ;; esac
say() {{ printf '\\n%s %s\\n' '{MARK}' "$1"; exit 0; }}
run() {{ "$@" 2>&1 | tail -c 4000; test "${{PIPESTATUS[0]}}" -eq 0 || say failed; }}
command -v git >/dev/null || {{ echo 'fatal: git is not installed on the host of this sandbox'; say failed; }}
draft="$path.outrider-clone"
git -C "$path" rev-parse -q --verify HEAD >/dev/null 2>&1 && [ -e "$path/.git" ] && say {DONE}
if [ -n "$(ls -A -- "$path" 2>/dev/null)" ]; then echo "fatal: $path is not empty"; say failed; fi
rm -rf -- "$draft" && mkdir -p -- "${{path%/*}}" || say failed
run git clone -q --no-recurse-submodules ${{branch:+--branch "$branch"}} -- "$url" "$draft"
if [ -n "$branch" ] && ! git -C "$draft" rev-parse -q --verify "refs/remotes/origin/$branch" >/dev/null; then
  echo 'fatal: no such branch'; say failed
fi
if [ -n "$sha" ]; then
  git -C "$draft" cat-file -e "$sha^{{commit}}" 2>/dev/null || run git -C "$draft" fetch -q origin "$sha"
  git -C "$draft" cat-file -e "$sha^{{commit}}" 2>/dev/null || {{ echo 'fatal: no such commit'; say failed; }}
  run git -C "$draft" checkout -q --detach "$sha"
fi
rmdir -- "$path" 2>/dev/null
run mv -T -- "$draft" "$path"
say {DONE}
"""
