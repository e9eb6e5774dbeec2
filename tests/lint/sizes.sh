#!/usr/bin/env bash
# No source file over 600 lines; every script can be run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bad=0
# A list that git cannot give (no git, a checkout of another user) must not pass for an empty one.
[ -n "$(git ls-files CMakeLists.txt)" ] || { echo "sizes.sh: git lists no files here: is this a git checkout of yours?"; exit 1; }
while read -r lines file; do
    [ "$file" = total ] && continue
    if [ "$lines" -gt 600 ]; then echo "$file: $lines lines, the limit is 600: one noun, one file pair"; bad=1; fi
done < <(git ls-files '*.c' '*.h' '*.cu' '*.cuh' '*.cpp' '*.py' '*.sh' '*.proto' | xargs wc -l)
while read -r mode _ _ file; do
    if [ "$mode" = 100644 ]; then echo "$file: not executable: chmod +x"; bad=1; fi
done < <(git ls-files -s -- 'deploy/*.sh' 'tests/*.sh' 'tests/lint/*.sh' .ci/run)
[ $bad -eq 0 ] && echo "sizes: clean"
exit $bad
