#!/usr/bin/env bash
# One participant of a Slurm array: sbatch --array=1-N participants.sh DATASET OUT WORK [options]
#SBATCH --cpus-per-task=1
#SBATCH --mem=3G
#SBATCH --time=04:00:00
set -euo pipefail
dataset=$1 out=$2 work=$3
shift 3
# The array's number counts the participants of the dataset.
label=$(find "$dataset" -maxdepth 1 -name 'sub-*' -printf '%f\n' | sort | sed -n "${SLURM_ARRAY_TASK_ID}p")
exec bids-encoder "$dataset" "$out" participant --participant-label "$label" -w "$work" \
  "$@"
