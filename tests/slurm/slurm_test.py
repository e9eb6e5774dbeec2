"""The two sbatch scripts of deploy/slurm on a real Slurm (slurm.py): a cluster comes up, answers as a local
one does, has its ranks, nodes and GPUs as the job says, and scancel stops it in order."""

import os
import re
import sys

import slurm
from harness import BIN, ROOT, Cluster, disaggregated, wait_for

PROMPT = {"prompt": "The sun is", "max_tokens": 12, "temperature": 0}


def environment(pid):
    with open("/proc/%d/environ" % pid, "rb") as f:
        return dict(e.decode(errors="replace").split("=", 1) for e in f.read().split(b"\0") if b"=" in e)


def text_of(cluster):
    return cluster.complete(**PROMPT)["choices"][0]["text"]


def serve(s, script, want, look=None):
    cluster = Cluster(disaggregated(transport="zmq"), start=False)
    try:
        log = cluster.log_path
        job = s.run(
            "sbatch", "--parsable", "--output=" + log, "--chdir=" + ROOT, "%s/deploy/slurm/%s" % (ROOT, script),
            cluster.path, BATON_BIN=BIN, BATON_RUN=cluster.dir.name,
        ).strip()

        def state():
            return s.run("squeue", "-h", "-j", job, "-o", "%T", check=False).split()

        def ready():
            assert state(), "the job ended"
            try:
                return "ready: http://" in cluster.log() and cluster.health()[0] == 200
            except OSError:
                return False

        try:
            wait_for("/ready", ready, 12)
            assert text_of(cluster) == want
            if look:
                look(cluster)
            s.run("scancel", job)
            wait_for("the end of the job", lambda: not state())
            wait_for(
                "the end of its processes",
                lambda: not sum((cluster.pids("baton-" + r) for r in ("coordinator", "prefill", "decode")), []),
            )
            assert not re.search(r"Killed|SIGKILL|signal 9", cluster.log())
        except BaseException:
            print("---- the job's log (end) ----\n" + (cluster.log()[-1800:] if os.path.exists(log) else "none"))
            s.run("scancel", "--signal=KILL", "--full", job, check=False)
            s.run("scancel", job, check=False)
            wait_for("the end of the job", lambda: not state())
            raise
    finally:
        cluster.dir.cleanup()


def each_rank_is_on_its_node_with_a_gpu_of_its_own(cluster):
    for role, rank, node, gpu in (
        ("coordinator", "0", "cpu0", None),
        ("prefill", "1", "gpu0", "0"),
        ("decode", "2", "gpu1", "0"),
    ):
        (pid,) = cluster.pids("baton-" + role)
        env = environment(pid)
        found = env["PMIX_RANK"], env["SLURMD_NODENAME"], env.get("CUDA_VISIBLE_DEVICES")
        assert found == (rank, node, gpu), (role, found)
    assert sorted(w["name"] for w in cluster.health()[1]["workers"]) == ["decode-0", "prefill-0"]


def main():
    reason = slurm.missing()
    if reason:
        print("skipped: " + reason)
        return 77
    with Cluster(disaggregated(transport="zmq")) as c:
        want = text_of(c)
    with slurm.Slurm() as s:
        serve(s, "cluster.sbatch", want, each_rank_is_on_its_node_with_a_gpu_of_its_own)
        print("ok: srun --mpi=pmix")
        serve(s, "cluster-mpirun.sbatch", want)
        print("ok: mpirun")
    return 0


sys.exit(main())
