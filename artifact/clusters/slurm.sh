#!/usr/bin/env bash
# One Ray node per Slurm node, a command on the head, and Ray ended whatever happens:
#   sbatch --nodes=4 --gres=gpu:8 slurm.sh lambdascale preflight --cluster gpus.yaml
#SBATCH --job-name=lambdascale
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
set -euo pipefail
ulimit -l unlimited || echo "memlock stays limited: RDMA will not work" >&2
port=$((20000 + SLURM_JOB_ID % 10000))
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{ print $1 }')

srun --nodes=1 --ntasks=1 --overlap --nodelist="$head" \
  ray start --block --head --node-ip-address="$address" --port="$port" --include-dashboard=false &
trap 'kill $(jobs -p); wait' EXIT
until srun --nodes=1 --ntasks=1 --overlap --nodelist="$head" \
  ray health-check --address="$address:$port"; do sleep 2; done
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
  srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --overlap \
    --exclude="$head" ray start --block --address="$address:$port" &
fi
srun --nodes=1 --ntasks=1 --overlap --nodelist="$head" --export="ALL,RAY_ADDRESS=$address:$port" "$@"
