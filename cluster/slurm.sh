#!/usr/bin/env bash
# One nnray command on the nodes of a Slurm job:
#
#   sbatch --nodes=4 --gpus-per-node=1 cluster/slurm.sh sweep jobs/mnist_cnn.yaml sweep.gpus_per_trial=1
#
# It is given a cluster of its own, with its own ports and token, which ends with the job. A job that is
# pre-empted or runs out of time is put back into the queue and goes on from where it was.
#SBATCH --job-name=nnray
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
#SBATCH --signal=B:USR1@120
set -euo pipefail

test $# -gt 0 || { echo "usage: sbatch slurm.sh VERB FILE [overrides]" >&2; exit 2; }
# Slurm runs a copy of this file; the project is where sbatch was called.
cd "$SLURM_SUBMIT_DIR"
# shellcheck source=/dev/null
test -n "${VIRTUAL_ENV:-}" || source .venv/bin/activate

# A shared folder that only this user reads.
umask 077
folder=${NNRAY_SLURM:-$HOME/.nnray/slurm}/$SLURM_JOB_ID
mkdir -p "$folder"
od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$folder/ray_token"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$folder/ray_token RAY_USAGE_STATS_ENABLED=0
export RAY_health_check_period_ms=1000 RAY_health_check_timeout_ms=2000 RAY_health_check_failure_threshold=3

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
# A node's first address; where it has several, NNRAY_NETWORK picks by prefix, such as 10.1.
address_of() {
    srun --nodes=1 --ntasks=1 --overlap --nodelist="$1" hostname --all-ip-addresses |
        awk -v prefix="${NNRAY_NETWORK:-}" '{ for (i = 1; i <= NF; i++) if (index($i, prefix) == 1) { print $i; exit } }'
}
address=$(address_of "$head")
test -n "$address" || { echo "$head has no address that begins with '${NNRAY_NETWORK:-}'" >&2; exit 1; }
# Two jobs on one node must not meet: 20 ports for each job, by its number.
base=$((20000 + SLURM_JOB_ID % 1000 * 20))
export RAY_ADDRESS=$address:$base

# Ray's sockets want a short name, on the node's own disk.
common=(--num-cpus="${SLURM_CPUS_PER_TASK:-1}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --block
        --node-manager-port=$((base + 1)) --object-manager-port=$((base + 2)) --metrics-export-port=$((base + 3))
        --runtime-env-agent-port=$((base + 4)) --dashboard-agent-listen-port=$((base + 5))
        --dashboard-agent-grpc-port=$((base + 6)))

steps=()
start() {
    local node=$1
    shift
    srun --nodes=1 --ntasks=1 --nodelist="$node" --output="$folder/$node.log" \
        ray start --node-ip-address="$(address_of "$node")" "${common[@]}" "$@" &
    steps+=($!)
}

stop() {
    kill "${steps[@]}" 2> /dev/null || true
    wait "${steps[@]}" 2> /dev/null || true
    rm -rf "${folder:?}/ray_token"
}
trap stop EXIT

start "$head" --head --port="$base" --temp-dir="/tmp/nnray-$SLURM_JOB_ID" --include-dashboard=false
until ray health-check --address "$RAY_ADDRESS" > /dev/null 2>&1; do
    kill -0 "${steps[0]}" || { echo "the head on $head did not start: see $folder/$head.log" >&2; exit 1; }
    sleep 1
done
for node in "${nodes[@]:1}"; do
    start "$node" --address="$RAY_ADDRESS"
done

command=(nnray "$@")
# Put back into the queue: the newest run of this folder is the one to go on with.
if test "${SLURM_RESTART_COUNT:-0}" -gt 0; then
    command=(nnray resume --last)
fi

# 120 s before the end: nnray stops in order, its newest checkpoint is whole, and the job queues again.
requeue() {
    kill -TERM "$driver" 2> /dev/null || true
    wait "$driver" 2> /dev/null || true
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
}
trap requeue USR1

"${command[@]}" &
driver=$!
wait "$driver"
