#!/usr/bin/env bash
# Installs nnray and what a cluster's node needs into a Python, each package at the version and with
# the hash that requirements.lock pins. Run from anywhere; safe to run again.
#
#   install.sh PYTHON                  all of it
#   install.sh PYTHON dependencies     without nnray itself: a layer of an image that seldom changes
set -euo pipefail

python=${1:?usage: install.sh PYTHON [dependencies]}
part=${2:-all}
case $part in
    all | dependencies) ;;
    *) echo "install.sh: the second argument is 'dependencies' or nothing, not '$part'" >&2; exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# uv comes out of the lock as well.
pin=$(mktemp)
trap 'rm -f "$pin"' EXIT
awk '/^uv==/ { on = 1 } on { print } on && !/\\$/ { exit }' requirements.lock > "$pin"
"$python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$pin"

uv=("$python" -m uv pip install --quiet --python "$python" --constraint requirements.lock
    --build-constraint requirements.lock)
"${uv[@]}" -r pyproject.toml --extra cluster
test "$part" = dependencies || "${uv[@]}" --no-deps .
