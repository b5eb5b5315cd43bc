#!/usr/bin/env bash
# Collects the wheels that tools/gpu_check.py needs on a machine without a network (docs/gpu.md).
#   bash tools/gpu_wheels.sh [FOLDER] [PYTHON VERSION]      (default: work_dirs/gpu_wheels 3.12)
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-work_dirs/gpu_wheels}
version=${2:-3.12}
python=.venv/bin/python
[ -x "$python" ] || python=python3
platforms=()
for glibc in 2_28 2_27 2_24 2_17 2_12 2_5; do
    platforms+=(--platform "manylinux_${glibc}_x86_64")
done
# Collected aside, so that wheels of an earlier list do not stay among them: of two versions of one
# package pip would install neither.
mkdir -p "$folder"
part=$(mktemp -d "$folder.XXXX")
trap 'rm -rf "$part"' EXIT
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --python-version "$version" --implementation cp "${platforms[@]}" \
    --platform manylinux2014_x86_64 --platform manylinux1_x86_64 \
    --dest "$part" -r requirements/gpu.txt
rm -f "$folder"/*.whl
mv "$part"/*.whl "$folder"/
echo "$(find "$folder" -name '*.whl' | wc -l) wheels, $(du -sh "$folder" | cut -f1), in $folder"
