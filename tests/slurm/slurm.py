"""A Slurm of three nodes on this machine, for a test: slurmctld, one slurmd per node and munged as children,
in a temporary directory, with ports, a key and sockets of their own. Needs root and Debian's packages
slurmctld, slurmd, munge and libpmix-dev (Slurm's pmix plugin opens libpmix.so by that name)."""

import glob
import os
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from harness import free_ports, wait_for  # noqa: E402

INSIDE = "BATON_SLURM_INSIDE"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "mpirun")
CONF = """ClusterName=baton
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={dir}/munge.sock
CredType=cred/munge
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool.%n
TmpFS={dir}/tmp.%n
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/slurmd.%n.pid
SlurmctldLogFile={dir}/slurmctld.log
SlurmdLogFile={dir}/slurmd.%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=bf_interval=1,sched_interval=1
GresTypes=gpu
NodeName=cpu0 NodeAddr=127.0.0.1 Port={ports[1]} CPUs=16 RealMemory=1000 Weight=1
NodeName={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=16 RealMemory=1000 Gres=gpu:2 Weight=8
NodeName={host}-2 NodeAddr=127.0.0.1 Port={ports[3]} CPUs=16 RealMemory=1000 Gres=gpu:2 Weight=9
PartitionName=all Nodes=ALL Default=YES MaxTime=60 State=UP
"""
# The second goes by this machine's name, so that mpirun, which begins there, finds itself.
HOST = socket.gethostname().split(".")[0]
NODES = ("cpu0", HOST, HOST + "-2")


def enter():
    """Starts this program again in a PID namespace of its own, so that whatever a Slurm started ends with it,
    also when it is killed. Returns there None, else why this machine cannot run a Slurm."""
    if os.environ.get(INSIDE):
        return None
    if why := missing():
        return why
    line = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    probe = subprocess.run([*line, "true"], capture_output=True, text=True, timeout=60)
    if probe.returncode:
        return "no PID namespace here: " + probe.stderr.strip()
    sys.stdout.flush()
    os.environ[INSIDE] = "1"
    # sh, as PID 1, collects what loses its parent.
    os.execvp(line[0], [*line, "sh", "-c", '"$@"; exit $?', "init", sys.executable, *sys.argv])


def make_device(path):
    """What it leads to Slurm does not ask: /dev/null."""
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))


def missing():
    """Why this machine cannot run it, or None."""
    if os.geteuid() != 0:
        return "not root"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for program in PROGRAMS:
        if not shutil.which(program, path=path):
            return "no %s: install slurmctld slurmd munge libpmix-dev openmpi-bin" % program
    if not glob.glob("/usr/lib/*/pmix2/lib/libpmix.so"):
        return "no libpmix.so, which Slurm's pmix plugin opens: install libpmix-dev"
    with tempfile.TemporaryDirectory() as d:
        try:
            make_device(d + "/device")
        except PermissionError as e:
            return "no device files can be made here, which Slurm wants for GPUs: %s" % e
    return None


class Slurm:
    """with Slurm() as s: s.run("sbatch", ...)"""

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="baton-slurm-")
        self.children = []
        self.env = dict(os.environ, SLURM_CONF=self.dir + "/slurm.conf")
        self.env["PATH"] += ":/usr/sbin:/sbin"
        try:
            self.begin()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            for name in sorted(glob.glob(self.dir + "/*.log")):
                with open(name, errors="replace") as f:
                    print("---- %s (end) ----\n%s" % (os.path.basename(name), f.read()[-3000:]))
        self.end()

    def child(self, name, *line):
        with open("%s/%s.log" % (self.dir, name), "ab") as log:
            self.children.append(
                subprocess.Popen(
                    ("setpriv", "--pdeathsig", "TERM") + line,
                    env=self.env,
                    cwd=self.dir,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            )

    def begin(self):
        for name in ["state"] + [k + n for n in NODES for k in ("spool.", "tmp.")]:
            os.mkdir(self.dir + "/" + name)
        with open(self.dir + "/munge.key", "wb") as f:
            os.fchmod(f.fileno(), 0o600)
            f.write(secrets.token_bytes(128))
        for i in range(2):
            make_device("%s/nvidia%d" % (self.dir, i))
        self.write("slurm.conf", CONF.format(host=HOST, dir=self.dir, ports=free_ports(4)))
        self.write(
            "gres.conf",
            "".join("NodeName=%s Name=gpu File=%s/nvidia[0-1]\n" % (n, self.dir) for n in NODES[1:]),
        )
        self.write("cgroup.conf", "CgroupAutomount=no\n")
        munge = {
            k: "%s/%s" % (self.dir, v)
            for k, v in (("key-file", "munge.key"), ("socket", "munge.sock"), ("pid-file", "munged.pid"))
        }
        self.child(
            "munged",
            "munged",
            "--foreground",
            "--force",
            "--seed-file=%s/munge.seed" % self.dir,
            *("--%s=%s" % item for item in munge.items()),
        )
        wait_for("munged", lambda: os.path.exists(munge["socket"]))
        self.child("ctl", "slurmctld", "-D")
        for node in NODES:
            self.child(node, "slurmd", "-D", "-N", node)
        wait_for("three idle nodes", self.idle)

    def idle(self):
        assert all(child.poll() is None for child in self.children), "a part of Slurm ended"
        return self.run("sinfo", "-hN", "-o", "%t", check=False).split() == ["idle"] * 3

    def write(self, name, text):
        with open(self.dir + "/" + name, "w") as f:
            f.write(text)

    def run(self, *line, check=True, **env):
        done = subprocess.run(line, env=dict(self.env, **env), capture_output=True, text=True, timeout=300)
        assert not check or done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout

    def end(self):
        for child in reversed(self.children):
            child.terminate()
            try:
                child.wait(60)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        shutil.rmtree(self.dir)
