#!/usr/bin/env bash
# Make a clone ready to travel to a GPU machine that has PyTorch for CUDA but no package index and little room for files.
# Run it in the root of the clone:
#
#   bash benchmarks/gpu/carry.sh wheels [NAME==VERSION ...]  fill .whl/ (which git ignores) with the wheels that such a
#                                           machine lacks, for Python 3.12 on x86-64 Linux, and with .whl/setup.sh
#   bash benchmarks/gpu/carry.sh pack FOLDER  copy a pack (python -m benchmarks.gpu --pack) to .pack/, which git ignores
#   bash benchmarks/gpu/carry.sh light [KEEP ...]  leave behind (out of the index, nothing is deleted) what a run there
#                                           does not need: files over 200 kB, tests, docs and examples, but for KEEP
#   bash benchmarks/gpu/carry.sh size       what travels now
#   bash benchmarks/gpu/carry.sh back       put the index back as it was
#
# There: `. .whl/setup.sh`, then `python3 -m benchmarks.gpu ...`. AV=1 takes PyAV along as well (35 MB), LEAN=1 leaves
# diffusers behind (a training does not need it).
set -euo pipefail
cd "$(git rev-parse --show-toplevel)"
exclude=$(git rev-parse --git-path info/exclude)
ignore() { grep -qxF "$1" "$exclude" 2>/dev/null || echo "$1" >>"$exclude"; }
size() {
  { git ls-files -co --exclude-standard -z; find .whl .pack -type f -print0 2>/dev/null; } | xargs -0 du -cb 2>/dev/null |
    awk '$2 == "total" { n += $1 } END { printf "what travels now: %d bytes of %d\n", n, 64 * 2^20 }'
}
case "${1:-}" in
wheels)
  shift
  ignore /.whl/
  rm -rf .whl && mkdir -p .whl
  names="hydra-core omegaconf pydantic pydantic_core annotated-types typing-inspection soundfile cffi pycparser importlib-metadata"
  [ "${LEAN:-}" ] || names="diffusers $names"
  [ "${AV:-}" ] && names="$names av"
  for name in $names "$@"; do
    pinned=$(grep -iE "^${name//[-_]/[-_]}==" constraints.txt | head -1 || true)
    python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
      --platform manylinux_2_34_x86_64 --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 \
      --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -d .whl "${pinned:-$name}"
  done
  python3 -m pip wheel -q --no-deps -w .whl antlr4-python3-runtime==4.9.3
  cat >.whl/setup.sh <<'S'
# Source this in the root of the clone on the GPU machine.
python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site .whl/*.whl || exit
export PYTHONPATH="/tmp/site:$PWD" PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 MULTIGEN_CACHE=/tmp/multigen \
  TORCHINDUCTOR_CACHE_DIR=/tmp/inductor TOKENIZERS_PARALLELISM=true CUBLAS_WORKSPACE_CONFIG=:4096:8
S
  du -sh .whl
  ;;
pack)
  [ -f "${2:?a pack\'s folder}/recipe.yaml" ] || { echo "$2: not a pack" >&2; exit 1; }
  ignore /.pack/
  rm -rf .pack && cp -r "$2" .pack
  size
  ;;
light)
  shift
  git diff --cached --quiet || { echo "something is staged: commit or unstage it first" >&2; exit 1; }
  printf '# carry.sh\n' >>"$exclude"
  git ls-files -z | while IFS= read -r -d '' file; do
    case "$file" in
    tests/* | docs/* | examples/*) ;;
    *) [ "$(stat -c %s "$file" 2>/dev/null || echo 0)" -gt 200000 ] || continue ;;
    esac
    for keep in "$@"; do case "$file" in "$keep"*) continue 2 ;; esac; done
    printf '/%s\n' "$file" >>"$exclude"
    printf '%s\0' "$file"
  done | xargs -0 git rm -q --cached --
  size
  ;;
size) size ;;
back)
  git reset -q
  sed -i '/^# carry.sh$/,$d' "$exclude"
  git status --short | head
  ;;
*) sed -n 2,17p "$0"; exit 2 ;;
esac
