#!/bin/sh
# Writes requirements/*.txt anew from requirements/*.in: newest versions that fit, for every platform and Python from
# 3.11 on, with hashes, and without the name of any package index. Needs uv.
set -eu
cd "$(dirname "$0")/../requirements"

if ! uv --version >/dev/null 2>&1; then
    echo "make lock needs uv: python3 -m pip install uv" >&2
    exit 1
fi
# In this order: development tools fit the runtime's versions, the heavy ones fit both.
for name in runtime dev heavy; do
    uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links "$name.in" -o "$name.txt"
done
