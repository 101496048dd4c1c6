#!/usr/bin/env bash
# run.sh FOLDER [PYTHON]: the app on a real Slurm against a run in one process, bit for bit.
#
# 1. one process (the reference)
# 2. --executor slurm, where a job is killed in the middle
# 3. an array of one job a participant into one folder, and the group's job that waits for it
# As root; FOLDER must be empty or absent; takes some minutes. Not part of the test suite.
set -euo pipefail

folder=$(realpath -m "${1:?folder}")
python=${2:-python3}
here=$(realpath "$(dirname "$0")")
root=$(realpath "$here/../..")
if [ -e "$folder" ] && [ -n "$(ls -A "$folder")" ]; then
  echo "$folder is not empty" >&2
  exit 2
fi
mkdir -p "$folder/bin"
export PYTHONPATH=$root OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
# What an installation puts on the PATH.
printf '#!/bin/sh\nexec %s %s/run.py "$@"\n' "$(command -v "$python")" "$root" >"$folder/bin/bids-encoder"
chmod +x "$folder/bin/bids-encoder"
export PATH=$folder/bin:$PATH

say() { printf '\n== %s (%s)\n' "$*" "$(date +%T)"; }
app() { bids-encoder "$@"; }

"$here/slurm.sh" start "$folder/slurm"
export SLURM_CONF=$folder/slurm/slurm.conf
trap 'scancel -u root 2>/dev/null || true; "$here/slurm.sh" stop "$folder/slurm"' EXIT

say "dataset"
cd "$folder"
PYTHONPATH=$root:$root/tests/app "$python" -c \
  'from pathlib import Path; from tiny_dataset import write_tiny; write_tiny(Path("tiny"))'
dataset=$folder/tiny/raw
options=(-d "$folder/tiny/prep" --space T1w --layers stage1 stage3 stage5 stage7 stage9
  --n-permutations 200 --similarity-permutations 20 --omp-nthreads 1)

say "1. one process"
app "$dataset" one participant "${options[@]}" -w "$folder/work-one"
app "$dataset" one group -w "$folder/work-one"

# One worker's job is killed once a file of this kind is there.
kill_a_worker() {
  until find "$folder/work-dask" -name "$1" 2>/dev/null | grep -q .; do
    kill -0 $driver # ends the script if the driver ended before
    sleep 0.1
  done
  local victim
  victim=$(squeue -h -t R -n dask-worker -o %A | head -1)
  scancel --signal=KILL --full "$victim"
  say "killed job $victim at the first $1; the queue is now"
  squeue
}

say "2. workers that Slurm starts, two of them killed"
app "$dataset" dask participant "${options[@]}" -w "$folder/work-dask" \
  --executor slurm --n-workers 2 --slurm-options memory=2GB walltime=01:00:00 &
driver=$!
kill_a_worker '????????????????*.npy' # features of a picture
kill_a_worker '*-*.npz' # the fit of a block
wait $driver
app "$dataset" dask group -w "$folder/work-dask"

say "3. an array, and the group after it"
array=$(sbatch --parsable --array=1-2 -o "$folder/array-%a.log" "$here/participants.sh" \
  "$dataset" "$folder/array" "$folder/work-array" "${options[@]}")
sbatch --wait --dependency="afterok:$array" -o "$folder/group.log" --wrap \
  "bids-encoder '$dataset' '$folder/array' group -w '$folder/work-array'"
tail -n 3 array-1.log array-2.log group.log

say "comparison, byte by byte"
status=0
for other in dask array; do
  if diff -r --brief --exclude=log one "$other"; then
    echo "one process and $other: the same $(find "$other" -type f -not -path '*/log/*' | wc -l) files"
  else
    status=1
  fi
done
exit $status
