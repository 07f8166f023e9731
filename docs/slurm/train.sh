#!/bin/bash
# Train a recipe on several machines under Slurm: sbatch train.sh RECIPE OUT [key=value ...]
#SBATCH --job-name=multigen
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append

set -euo pipefail

if [ "$#" -lt 2 ]; then
  echo "usage: sbatch train.sh RECIPE OUT [key=value ...]; OUT is a folder that all machines see" >&2
  exit 2
fi
recipe=$1
out=$2
shift 2

# The first machine is where the ranks find each other.
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 20000))

# A restart must not meet what the first attempt left in torchrun's store.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
export OMP_NUM_THREADS=$((SLURM_CPUS_PER_TASK / SLURM_GPUS_ON_NODE))

# Five minutes before the time is up Slurm sends TERM: the training saves, and the job queues itself again.
again() {
  kill -TERM "$ranks" 2>/dev/null || true
  wait "$ranks" || true
  scontrol requeue "$SLURM_JOB_ID"
}

srun torchrun \
  --nnodes="$SLURM_JOB_NUM_NODES" \
  --nproc-per-node="$SLURM_GPUS_ON_NODE" \
  --rdzv-backend=c10d \
  --rdzv-id="$SLURM_JOB_ID" \
  --rdzv-endpoint="$first:$port" \
  -m multigen train "$recipe" --out "$out" --quiet "$@" &
ranks=$!
trap again TERM
wait "$ranks"
