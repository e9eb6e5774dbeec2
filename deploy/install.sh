#!/usr/bin/env bash
# Installs the Debian packages named in the given lists (default: deploy/apt-packages.txt). Run again, it does
# nothing.
# Usage: deploy/install.sh [LIST...]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ $# -gt 0 ] || set -- "$root/deploy/apt-packages.txt"

missing=()
while read -r package; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
        missing+=("$package")
done < <(sed -E 's/#.*//; /^[[:space:]]*$/d' "$@")
[ ${#missing[@]} -gt 0 ] || exit 0

sudo=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install.sh: not root and no sudo: run as root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    sudo=(sudo)
fi
echo "installing: ${missing[*]}"
# Two tries: a package list that is too old gives 404s that an update cures, and a mirror may hiccup.
for try in 1 2; do
    "${sudo[@]}" apt-get update -qq
    if "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o DPkg::Lock::Timeout=300 "${missing[@]}" >/dev/null; then
        exit 0
    fi
    echo "install.sh: try $try failed" >&2
done
echo "install.sh: cannot install: ${missing[*]}; see the messages of apt-get above" >&2
exit 1
