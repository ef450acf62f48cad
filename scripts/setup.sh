#!/bin/sh
# Makes .venv with everything `make test` and `make demo` need, from the hashed locks, and .venv/bin/sameview.
# Needs Python 3.11 or newer and a package index; no root, no system packages. Run by `make setup`.
set -eu
cd "$(dirname "$0")/.."

venv=.venv
locks="-r requirements/runtime.txt -r requirements/dev.txt"

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            # The interpreter itself, not a shim that may choose another one tomorrow.
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    echo "make setup: found no Python 3.11 or newer; install one, or name it: make setup PYTHON=/path/to/python3" >&2
    return 1
}

with_uv() {
    uv --version >/dev/null 2>&1 || return 1
    if ! works; then
        uv venv --quiet --clear --python "$python" "$venv" || return 1
    fi
    # shellcheck disable=SC2086 # the locks are several words
    uv pip install --quiet --python "$venv/bin/python" --require-hashes $locks &&
        uv pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation --editable . && return
    echo "make setup: uv could not (reason above); trying with pip" >&2
    return 1
}

with_pip() {
    if ! works || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        "$python" -m venv --clear "$venv" || return 1
    fi
    # shellcheck disable=SC2086
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes $locks &&
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
}

# An environment whose interpreter was removed or is too old is made again.
works() {
    "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# Debian ships Python without ensurepip; every other cause has been printed by the tool that failed.
say_what_helps() {
    echo "make setup: could not make $venv with uv, nor with $python -m venv and pip (reasons above)." >&2
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        if command -v apt-get >/dev/null; then
            echo "This helps:  apt-get install python3-venv" >&2
        else
            echo "This Python has no ensurepip: install your system's package for Python's venv and pip." >&2
        fi
    else
        echo "If the package index could not be reached, name yours in PIP_INDEX_URL or UV_INDEX_URL and try again." >&2
    fi
}

python=$(find_python)
echo "make setup: installing into $venv (once; again when the locks change)"
if ! with_uv && ! with_pip; then
    say_what_helps
    exit 1
fi
test -x "$venv/bin/sameview"
touch "$venv/.setup"
