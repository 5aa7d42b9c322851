"""What a hostile agent does in a sandbox: a shell script that reads all that it can, and says where it met a canary.

The script must not bring in what it looks for: the patterns come rotated and are turned back into a file by `tr`, and
that file is left out. It plants a word of its own first, which has to be found, or the search says nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

_PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_TURNED = _PLAIN[13:26] + _PLAIN[:13] + _PLAIN[39:52] + _PLAIN[26:39] + _PLAIN[57:] + _PLAIN[52:57]
PATTERNS = "/tmp/.audit-patterns"
CONTROL = "/tmp/.audit-control"

SCRIPT = r"""
exec 2>/dev/null
since=$(date +%s); files=0; procs=0; regions=0
printf '%s\n' @PATTERNS@ | tr '@TURNED@' '@PLAIN@' > @FILE@
printf '%s' @CONTROL_WORD@ | tr '@TURNED@' '@PLAIN@' > @CONTROL@
hit() { printf 'HIT %s\n' "$1"; }
search() { xargs -0 -r grep -laFf @FILE@ -- | while read -r f; do hit "$f"; done; }
mine() {
  find / -xdev \( -path /proc -o -path /sys -o -path @FILE@ \) -prune \
    -o -type f -readable -newermt "@SINCE@" -print0
}
known() {
  find /etc /home /root /run /var /tmp /mnt /workspace /dev/shm /opt -xdev -path @FILE@ -prune \
    -o -type f -readable -size -65536k -print0
}
printf 'FILES %s\n' "$( (mine; known) | tr -dc '\0' | wc -c)"
(mine; known) | sort -zu | search
for p in /proc/[0-9]*; do
  procs=$((procs+1))
  for f in environ cmdline comm mountinfo maps status stack net/tcp net/unix; do
    tr '\0' '\n' < "$p/$f" | grep -qaFf @FILE@ && hit "$p/$f"
  done
  for d in "$p"/fd/*; do
    [ -f "$d" ] && [ "$(readlink "$d")" != @FILE@ ] && grep -qaFf @FILE@ -- "$d" && hit "$d $(readlink "$d")"
  done
  while read -r range rights _ _ _ name; do
    case "$rights $name" in r*'[v'*) continue;; r*) ;; *) continue;; esac
    low=$((16#${range%-*}/4096)); many=$((16#${range#*-}/4096-low))
    [ "$many" -gt 16384 ] && continue
    regions=$((regions+1))
    dd if="$p/mem" bs=4096 skip="$low" count="$many" | grep -qaFf @FILE@ && hit "$p/mem $range $name"
  done < "$p/maps"
done
printf 'PROCS %s\nREGIONS %s\n' "$procs" "$regions"
for d in @OUTSIDE@; do [ -e "$d" ] && printf 'SEES %s\n' "$d"; done
printf 'VARIABLE %s\n' "${@VARIABLE@:-(not set)}"
rm -f @FILE@ @CONTROL@
printf 'END\n'
"""


@dataclass
class Inside:
    """What the script said. `control`: it found what it had planted itself. `variable`: as the sandbox sees it."""

    hits: list[str] = field(default_factory=list[str])
    sees: list[str] = field(default_factory=list[str])
    counts: dict[str, int] = field(default_factory=dict[str, int])
    control: bool = False
    whole: bool = False
    variable: str = ""


def script(wanted: Collection[bytes], *, since: str, outside: Collection[Path], variable: str) -> str:
    """Look for `wanted` (what is text of them) in files, processes and memory, and for the paths `outside`. `since` is
    a time before the planting, as `find -newermt` takes it."""
    lines = sorted(one.decode() for one in wanted if one.isascii() and one.decode().isprintable())
    filled = SCRIPT
    for name, value in {
        "PATTERNS": " ".join(shlex.quote(_turned(line)) for line in lines),
        "CONTROL_WORD": shlex.quote(_turned(lines[0])),
        "TURNED": _TURNED,
        "PLAIN": _PLAIN,
        "FILE": PATTERNS,
        "CONTROL": CONTROL,
        "SINCE": since,
        "OUTSIDE": " ".join(shlex.quote(str(path)) for path in outside),
        "VARIABLE": variable,
    }.items():
        filled = filled.replace(f"@{name}@", value)
    return filled.strip()


def _turned(text: str) -> str:
    return text.translate(str.maketrans(_PLAIN, _TURNED))


def read(said: str) -> Inside:
    """The script's output."""
    found = Inside()
    for line in said.splitlines():
        word, _, rest = line.partition(" ")
        if word == "HIT" and rest == CONTROL:
            found.control = True
        elif word == "HIT":
            found.hits.append(rest)
        elif word == "SEES":
            found.sees.append(rest)
        elif word in ("FILES", "PROCS", "REGIONS") and rest.strip().isdigit():
            found.counts[word.lower()] = int(rest)
        elif word == "VARIABLE":
            found.variable = rest
        elif word == "END":
            found.whole = True
    return found
