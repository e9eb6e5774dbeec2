#!/usr/bin/env bash
# Starts a cluster in the allocation that this runs in (sbatch, salloc), and stays in the foreground. In a
# heterogeneous job one step of srun has a component for each role; else deploy/up.sh calls mpirun.
# Usage, in the folder of Baton: deploy/slurm/start.sh CONFIG [--set key=value]...
#
# The hosts and the coordinator's address are the job's; cluster.* of CONFIG says the ports. BATON_BIN: see
# deploy/up.sh. BATON_ADDRESS: of the first node, as the others reach it (default: by the name that Slurm
# has). Exit status: 2 when job and config do not fit, else that of srun or deploy/up.sh.
set -euo pipefail
die() { echo "start.sh: $1" >&2; exit 2; }
[ $# -ge 1 ] || die "usage: deploy/slurm/start.sh CONFIG [--set key=value]..."
[ -n "${SLURM_JOB_ID:-}" ] || die "no Slurm job: use sbatch deploy/slurm/cluster.sbatch, or salloc"
bin=${BATON_BIN:-$PWD/build/release/bin}
[ -x "$bin/baton-coordinator" ] ||
    die "no $bin/baton-coordinator: start in the folder of Baton, built, or set BATON_BIN"
export BATON_RUN=${BATON_RUN:-$PWD/build/run/slurm-$SLURM_JOB_ID}

# NAME:CPUS of each node, with commas. $1: a list of Slurm; $2: CPUs per node as in "8(x2),4".
hosts() {
    local cpus=() part names
    for part in ${2//,/ }; do
        [[ $part =~ ^([0-9]+)(\(x([0-9]+)\))?$ ]] || die "cannot read the CPUs per node: $2"
        for _ in $(seq "${BASH_REMATCH[3]:-1}"); do cpus+=("${BASH_REMATCH[1]}"); done
    done
    mapfile -t names < <(scontrol show hostnames "$1")
    for part in "${!names[@]}"; do printf '%s:%s\n' "${names[part]}" "${cpus[part]}"; done | paste -sd,
}

# Of a node, to bind and to connect to: numbers.
address() {
    local name ip
    name=$(scontrol show node "$1" | sed -nE 's/.*NodeAddr=([^ ]+).*/\1/p')
    ip=$(getent ahostsv4 "$name" | awk 'NR == 1 { print $1 }')
    # Debian gives a machine's own name an address that only the machine reaches.
    case $ip in '' | 127.0.1.*) ip=$(hostname -I | awk '{ print $1 }') ;; esac
    echo "$ip"
}

# Whatever hosts the config names, the job's are others. Any map will do to learn the ports and the roles.
for role in cluster prefill decode colocated; do set -- "$@" --set "$role.hosts="; done
check() { "$bin/baton-coordinator" "$@" --check || exit 2; }
map=$(check "$@" --set cluster.oversubscribe=true --set cluster.gpus_per_host=0)
port() { sed -nE "s/^  $1: \"?[^\"]*:([0-9]+)\"?\$/\1/p" <<<"$map"; }
node=$(scontrol show hostnames "${SLURM_JOB_NODELIST_HET_GROUP_0:-$SLURM_JOB_NODELIST}" | head -n 1)
at=${BATON_ADDRESS:-$(address "$node")}
set -- "$@" --set "cluster.control=tcp://$at:$(port control)" --set "cluster.http=$at:$(port http)"
[ -z "$(port client)" ] || set -- "$@" --set "cluster.client=tcp://$at:$(port client)"

if [ -z "${SLURM_HET_SIZE:-}" ]; then
    if [ "$SLURM_JOB_NUM_NODES" -eq 1 ] && [ "${SLURMD_NODENAME:-}" = "$node" ]; then
        # All of it is here: mpirun starts its children itself, and up.sh watches them.
        export OMPI_MCA_ras=^slurm OMPI_MCA_plm=^slurm OMPI_MCA_ess=^slurm OMPI_MCA_schizo=^slurm
    else
        set -- "$@" --set "cluster.hosts=$(hosts "$SLURM_JOB_NODELIST" "$SLURM_JOB_CPUS_PER_NODE")"
    fi
    exec deploy/up.sh "$@"
fi

# The job's own words on component $2: NODELIST, CPUS_PER_NODE, ...
of() { local name=SLURM_$1_HET_GROUP_$2; echo "${!name:-}"; }
mapfile -t roles < <(sed -nE 's/^rank=.* role=([^ ]+).*/\1/p' <<<"$map" | uniq -c | awk '{ print $2, $1 }')
if [ "${#roles[@]}" -ne "$SLURM_HET_SIZE" ]; then
    die "$SLURM_HET_SIZE components in the job: want one each for these roles of the config: ${roles[*]% *}"
fi
for group in "${!roles[@]}"; do
    read -r role count <<<"${roles[group]}"
    [ "$(of NTASKS "$group")" -eq "$count" ] ||
        die "component $group: $(of NTASKS "$group") tasks, but $count $role in the config: make them equal"
    key=$role.hosts
    [ "$role" != coordinator ] || key=cluster.hosts
    set -- "$@" --set "$key=$(hosts "$(of JOB_NODELIST "$group")" "$(of JOB_CPUS_PER_NODE "$group")")"
done
check "$@" | grep '^rank='

# Cyclic, as the map has its hosts.
# srun does not take the job's over.
cpus() { local n; n=$(of CPUS_PER_TASK "$1"); echo "--cpus-per-task=${n:-1}"; }
step=(--het-group=0 "$(cpus 0)" "$bin/baton-coordinator" "$@")
for group in $(seq $((SLURM_HET_SIZE - 1))); do
    step+=(: "--het-group=$group" "$(cpus "$group")" --distribution=cyclic
        "$bin/baton-${roles[group]% *}" "$@")
done
# A worker that ends must not take the others with it.
exec srun --mpi=pmix --kill-on-bad-exit=0 --wait=0 --label "${step[@]}"
