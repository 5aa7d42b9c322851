# Sourced by the other scripts: `prepare run` or `prepare dev` makes a virtual environment with the pinned
# requirements and this checkout installed, and sets VENV to its place. It needs Python 3.11 or newer with venv, or uv.
# A stamp in the environment makes later runs quick. OUTRIDER_VENV chooses another place.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

say() { printf 'outrider: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

find_python() {
    local name
    for name in python3.13 python3.12 python3.11 python3; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$name"
            return
        fi
    done
    fail "Python 3.11 or newer is needed, and none of python3.13, python3.12, python3.11, python3 is one." \
        "On Debian 12: apt-get install python3 python3-venv"
}

# The checkout's own .venv; where that can't be written, a place in the user's cache, one for each checkout.
choose_venv() {
    if [[ -n "${OUTRIDER_VENV:-}" ]]; then
        VENV="$OUTRIDER_VENV"
    elif [[ -w "$ROOT" && ( ! -e "$ROOT/.venv" || -w "$ROOT/.venv" ) ]]; then
        VENV="$ROOT/.venv"
    else
        local cache="${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}"
        VENV="$cache/outrider/venv-$(printf '%s' "$ROOT" | sha256sum | cut -c 1-12)"
    fi
    mkdir -p "$(dirname "$VENV")" 2>/dev/null ||
        fail "No place for a virtual environment: $VENV can't be made. Set OUTRIDER_VENV to a path that can."
}

make_venv() {
    "$VENV/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && return
    local python
    python="$(find_python)"
    say "making a virtual environment in $VENV with $python"
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet --clear --python "$python" "$VENV"
    elif "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        "$python" -m venv --clear "$VENV"
    else
        fail "$python has no venv module. On Debian: apt-get install python3-venv (or install uv)."
    fi
}

install_pinned() {
    say "installing the pinned requirements ($1) into $VENV"
    if command -v uv >/dev/null 2>&1; then
        local pip=(uv pip install --quiet --python "$VENV/bin/python")
    else
        "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || "$VENV/bin/python" -m ensurepip >/dev/null
        local pip=("$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-input)
    fi
    "${pip[@]}" --require-hashes --no-deps --requirement "$ROOT/requirements/$1.txt"
    "${pip[@]}" --no-deps --no-build-isolation --editable "$ROOT"
}

# What the environment was made from: the pins, the project's metadata, and the place of the checkout.
fingerprint() {
    cat "$ROOT/requirements/run.txt" "$ROOT/requirements/$1.txt" "$ROOT/pyproject.toml" <(echo "$ROOT") |
        sha256sum | cut -d ' ' -f 1
}

current() {
    [[ -x "$VENV/bin/outrider" && "$(cat "$VENV/outrider-$1.stamp" 2>/dev/null)" == "$(fingerprint "$1")" ]]
}

prepare() {
    local kind="$1"
    choose_venv
    if current "$kind" || { [[ "$kind" == run ]] && current dev; }; then return; fi
    exec 9<"$ROOT/pyproject.toml"
    flock 9 # two scripts started at once make one environment between them
    if ! current "$kind"; then
        make_venv
        install_pinned "$kind"
        fingerprint "$kind" >"$VENV/outrider-$kind.stamp"
        say "done; the command is $VENV/bin/outrider"
    fi
    exec 9<&-
}

# Tools keep their caches beside the environment where the checkout can't be written.
place_caches() {
    [[ -w "$ROOT" ]] && return
    export RUFF_CACHE_DIR="$VENV/cache/ruff" HYPOTHESIS_STORAGE_DIRECTORY="$VENV/cache/hypothesis"
    export PYTEST_ADDOPTS="-o cache_dir=$VENV/cache/pytest ${PYTEST_ADDOPTS:-}"
}
