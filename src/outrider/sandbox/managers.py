"""The package managers as a sandbox runs them: how each installs into one directory, and how that directory is used.

No registry is named: where packages come from is each manager's own configuration. Pure; standard library only.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

VERSION = 2
"""Of what is here: a layer built by another version is built again."""
PLACE = "/opt"
LAID_OVER = "apt"
"""Its packages are where the system's own are."""
RESOLVED = "--- outrider: what was installed ---"
MISSING = "--- outrider: there is no such program ---"
HOSTS = "PACKAGE_HOSTS"
"""Set in a build by the egress proxy to the hosts that builds may reach; empty where the operator has named none."""
NO_HOSTS = (
    "Note: the operator has named no hosts of package registries, so none could be reached ([egress.package_hosts]; see"
    " `outrider doctor --learn-package-hosts`)."
)


@dataclass(frozen=True, slots=True)
class Manager:
    """`program` is what must be there, and comes with `debian` on Debian and its like; `found` says in a shell whether
    it works. `install` gets the packages for `{}`, `resolved` prints what is there then. `variables` are for those who
    use the directory, beside its `bin` in their PATH."""

    program: str
    debian: str
    found: str
    install: str
    resolved: str
    variables: Mapping[str, str] = field(default_factory=dict[str, str])


_APT = " ".join(
    f"-o {option}"
    for option in (
        "Dir::State=/workspace/apt/state",
        "Dir::Cache=/workspace/apt/cache",
        "Dir::State::status=/var/lib/dpkg/status",
        "Debug::NoLocking=1",
        "APT::Update::Error-Mode=any",
        "Acquire::http::Proxy=$http_proxy",
        "Acquire::https::Proxy=$http_proxy",
    )
)
_NAMED = r"""{ gsub(/\\/, "") } { text = text " " $0 }
END {
  count = split(text, word, /[ \t]+/)
  for (at = 1; at < count - 2; at++)
    if (word[at] ~ /^--(install|slave)$/ && word[at + 1] ~ /^\/usr\// && word[at + 3] ~ /^\/usr\//)
      print word[at + 1], word[at + 3]
}"""
"""For awk: of a script that is not run, the names that it would give to its programs (update-alternatives)."""
_APT_INSTALL = f"""set -e
mkdir -p apt/state/lists/partial apt/cache/archives/partial
if [ -n "$APT_SOURCES" ]; then
  printf '%s\\n' "$APT_SOURCES" > apt/sources.list
  more='-o Dir::Etc::sourcelist=/workspace/apt/sources.list -o Dir::Etc::sourceparts=-'
fi
apt-get {_APT} $more -q update
apt-get {_APT} $more -q --yes --no-install-recommends --download-only install {{}}
cd {PLACE}/apt
mkdir -p usr/bin usr/sbin usr/lib usr/lib32 usr/lib64
for one in bin sbin lib lib32 lib64; do ln -sf usr/$one $one; done
for one in /workspace/apt/cache/archives/*.deb; do
  [ -e "$one" ] || continue
  dpkg-deb --fsys-tarfile "$one" | tar -x --no-same-owner --keep-directory-symlink
  dpkg-deb --info "$one" postinst 2>/dev/null | awk {shlex.quote(_NAMED)} | while read -r name program; do
    [ -e "$name" ] || [ -e ".$name" ] || [ ! -e ".$program" ] || ln -s "$program" ".$name" || true
  done
  dpkg-deb --show --showformat='${{Package}}=${{Version}}\\n' "$one" >> /workspace/apt/resolved
done
for one in *; do case $one in usr|etc) ;; *) rm -rf "$one" ;; esac; done
rmdir usr/* usr 2>/dev/null || true
"""
"""What the machine lacks is unpacked, to be laid over its /usr and /etc. There is no root here who could run what the
packages bring to be run when they are installed."""

MANAGERS: Mapping[str, Manager] = {
    "apt": Manager(
        program="apt-get",
        debian="apt",
        found="command -v apt-get && command -v dpkg-deb && test -e /var/lib/dpkg/status",
        install=_APT_INSTALL,
        resolved="cat /workspace/apt/resolved",
    ),
    "cargo": Manager(
        program="cargo",
        debian="cargo",
        found="command -v cargo",
        install="export CARGO_HOME=/workspace/cargo CARGO_TARGET_DIR=/workspace/target;"
        f" cargo install --root {PLACE}/cargo {{}}",
        resolved=f"CARGO_HOME=/workspace/cargo cargo install --list --root {PLACE}/cargo | grep -v '^ '",
    ),
    "gem": Manager(
        program="gem",
        debian="ruby",
        found="command -v gem",
        install=f"gem install --no-document --no-user-install --install-dir {PLACE}/gem --bindir {PLACE}/gem/bin {{}}",
        resolved=f"ls {PLACE}/gem/gems",
        variables={"GEM_PATH": f"{PLACE}/gem"},
    ),
    "go": Manager(
        program="go",
        debian="golang",
        found="command -v go",
        install="export GOPATH=/workspace/go GOCACHE=/workspace/gocache GOFLAGS=-modcacherw"
        f" GOBIN={PLACE}/go/bin; for one in {{}}; do case $one in *@*) ;; *) one=$one@latest;; esac;"
        ' go install "$one" || exit; done',
        resolved=f'go version -m {PLACE}/go/bin/* | awk \'$1 == "mod" {{ print $2 "@" $3 }}\'',
    ),
    "npm": Manager(
        program="npm",
        debian="npm",
        found="command -v npm",
        install=f"npm install --global --prefix {PLACE}/npm --cache /workspace/cache --no-audit --no-fund"
        " --no-update-notifier --no-progress {}",
        resolved=f"npm ls --global --prefix {PLACE}/npm --all --parseable --long --offline 2>/dev/null | cut -d: -f2"
        " | grep '@.' | sort -u",
        variables={"NODE_PATH": f"{PLACE}/npm/lib/node_modules"},
    ),
    "pip": Manager(
        program="python3",
        debian="python3-pip",
        found="python3 -c 'import importlib.util as u; raise SystemExit(u.find_spec(\"pip\") is None)'",
        install=f"python3 -m pip install --target {PLACE}/pip --no-cache-dir --no-input --progress-bar off"
        " --disable-pip-version-check --no-warn-script-location {}",
        resolved=f'python3 -c \'import importlib.metadata as m; print(*sorted(d.metadata["Name"] + "==" + d.version'
        f' for d in m.distributions(path=["{PLACE}/pip"])))\'',
        variables={"PYTHONPATH": f"{PLACE}/pip"},
    ),
}


def script(manager: str, packages: Sequence[str], seconds: float) -> str:
    """For bash in a build's sandbox. It fails unless all is there; else its text ends with RESOLVED and what is."""
    one = MANAGERS[manager]
    install = one.install.replace("{}", " ".join(shlex.quote(package) for package in packages))
    return "\n".join((
        f"{{ {one.found}; }} >/dev/null 2>&1 || {{ echo; echo '{MISSING}'; exit 1; }}",
        "export TMPDIR=/workspace/tmp; mkdir -p $TMPDIR && cd /workspace || exit",
        f"timeout -k 10 {seconds:g} bash -c {shlex.quote(install)} 2>&1 || {{ code=$?",
        f'  [ $code != 124 ] || echo "It took longer than {seconds:g} seconds."',
        f"  [ -n \"${HOSTS}\" ] || echo '{NO_HOSTS}'",
        "  exit $code; }",
        f"echo; echo '{RESOLVED}'; {one.resolved} 2>/dev/null || true",
    ))  # fmt: skip


def variables(managers: Sequence[str], path: str) -> dict[str, str]:
    """What the commands of a sandbox with these managers' directories have in their environment; `path` is the PATH
    without them."""
    found = {name: value for manager in managers for name, value in MANAGERS[manager].variables.items()}
    bins = [f"{PLACE}/{manager}/bin" for manager in managers if manager != LAID_OVER]
    return {**found, "PATH": ":".join([*bins, path])} if bins else {}
