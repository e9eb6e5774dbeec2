"""The sbatch scripts of deploy/slurm on a real Slurm of one machine (slurm.py)."""

import os
import re
import socket
import sys
import unittest

import slurm
from harness import BIN, ROOT, Cluster, disaggregated, kill, sanitizer_reports, wait_for

PROMPT = {"prompt": list(range(300, 364)), "max_tokens": 12, "temperature": 0, "ignore_eos": True}
ROLES = ("coordinator", "prefill", "decode")


def text_of(cluster):
    return cluster.complete(**PROMPT)["choices"][0]["text"]


class Job(Cluster):
    """A cluster that sbatch starts with a script of deploy/slurm, its output in the log."""

    def __init__(self, s, script, *more, options=()):
        self.slurm = s
        super().__init__(disaggregated(transport="auto", cluster={"insecure": True}), start=False)
        line = ["sbatch", "--parsable", "--output=" + self.log_path, "--chdir=" + ROOT, *options]
        line += ["%s/deploy/slurm/%s" % (ROOT, script), self.path, *more]
        self.id = s.run(*line, BATON_BIN=BIN, BATON_RUN=self.dir.name).strip()

    def log(self):
        return super().log() if os.path.exists(self.log_path) else ""

    def state(self):
        return self.slurm.run("squeue", "-h", "-j", self.id, "-o", "%T", check=False).split()

    def processes(self):
        return {role: self.pids("baton-" + role) for role in ROLES}

    @staticmethod
    def environment(pid):
        with open("/proc/%d/environ" % pid, "rb") as f:
            return dict(e.decode(errors="replace").split("=", 1) for e in f.read().split(b"\0") if b"=" in e)

    def node_and_gpus(self, pid):
        env = self.environment(pid)
        return env["SLURMD_NODENAME"], env.get("CUDA_VISIBLE_DEVICES")

    def wait_ready(self, workers):
        def ready():
            assert self.state(), "the job ended"
            try:
                health = self.health()[1]
                return health["ready"] and len(health["workers"]) == workers
            except OSError:
                return False

        wait_for("a cluster that is ready", ready)

    def wait_end(self):
        wait_for("the end of the job", lambda: not self.state())
        wait_for("the end of its processes", lambda: not self.pids("baton-[a-z]+"))

    def stop(self):
        self.slurm.run("scancel", self.id, check=False)
        self.wait_end()
        assert not sanitizer_reports(self.log())


class Slurm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with Cluster(disaggregated(transport="zmq")) as c:
            cls.want = text_of(c)
        cls.slurm = cls.enterClassContext(slurm.Slurm())

    def serves(self, job, nodes):
        """Answers as a cluster without Slurm does, its ranks on these nodes."""
        job.wait_ready(len(nodes) - 1)
        self.assertEqual(text_of(job), self.want)
        found = [(r, *job.node_and_gpus(pid)) for r, pids in job.processes().items() for pid in pids]
        self.assertEqual(sorted(found), sorted(nodes))

    def ends_in_order(self, job, workers):
        self.assertEqual(sorted(w["name"] for w in job.health()[1]["workers"]), workers)
        job.stop()
        for who in workers:
            self.assertIn("worker left worker=" + who, job.log())
        self.assertIn("coordinator stopped", job.log())

    def test_srun_gives_each_role_nodes_of_its_own_and_goes_on_without_a_worker_that_died(self):
        nodes = [(role, node, gpus) for role, node, gpus in zip(ROLES, slurm.NODES, (None, "0", "0"))]
        with Job(self.slurm, "cluster.sbatch") as job:
            self.serves(job, nodes)
            (victim,) = job.pids("baton-prefill")
            kill(victim)
            wait_for("srun's word", lambda: "srun: error: %s: task 0: Killed" % slurm.HOST in job.log())
            wait_for("its loss", lambda: len(job.health()[1]["workers"]) == 1)
            self.ends_in_order(job, ["decode-0"])

    def test_srun_puts_each_rank_where_the_map_says(self):
        none = ["--set", "prefill.count=0", "--set", "decode.count=0", "--set", "colocated.count=4"]
        two = ["--ntasks=1", ":", "--nodes=2", "--ntasks=4", "--gpus-per-task=1"]
        with Job(self.slurm, "start.sh", *none, options=two) as job:
            job.wait_ready(4)
            line = r"^rank=(\d+) role=colocated index=\d host=(\S+) cores="
            said = sorted(re.findall(line, job.log(), re.M))
            self.assertEqual([host for _, host in said], list(slurm.NODES[1:]) * 2)
            found = [
                (job.environment(pid)["PMIX_RANK"], job.node_and_gpus(pid))
                for pid in job.pids("baton-colocated")
            ]
            self.assertEqual(sorted((rank, node) for rank, (node, _) in found), said)
            both = sorted((node, gpu) for node in slurm.NODES[1:] for gpu in "01")
            self.assertEqual(sorted(where for _, where in found), both)

    def test_mpirun_spans_the_nodes_of_an_allocation(self):
        first, second = slurm.NODES[1:]
        nodes = [(role, first, "0,1") for role in ROLES] + [("decode", second, "0,1")]
        with Job(
            self.slurm, "cluster-mpirun.sbatch", "--set", "decode.count=2", options=["--gpus-per-node=2"]
        ) as job:
            self.serves(job, nodes)
            self.ends_in_order(job, ["decode-0", "decode-1", "prefill-0"])

    def test_mpirun_on_one_node_starts_all_itself(self):
        with Job(self.slurm, "cluster-mpirun.sbatch", options=["--nodes=1", "--gpus-per-node=2"]) as job:
            self.serves(job, [(role, slurm.HOST, "0,1") for role in ROLES])
            self.ends_in_order(job, ["decode-0", "prefill-0"])

    def test_without_a_coordinator_the_job_is_over(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            taken = "cluster.http=127.0.0.1:%d" % s.getsockname()[1]
            soon = "limits.rejoin_ms=1000"
            with Job(self.slurm, "cluster.sbatch", "--set", taken, "--set", soon) as job:
                job.wait_end()
                self.assertIn("in use", job.log())

    def test_a_job_that_does_not_fit_the_config_is_refused(self):
        with Job(self.slurm, "cluster.sbatch", "--set", "prefill.count=2") as job:
            job.wait_end()
            self.assertIn(
                "start.sh: component 1: 1 tasks, but 2 prefill in the config: make them equal", job.log()
            )


if __name__ == "__main__":
    why = slurm.enter()
    if why:
        print("skipped: " + why)
        sys.exit(77)
    unittest.main(verbosity=2)
