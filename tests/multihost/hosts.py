"""Several hosts on one machine: network namespaces on a bridge, each with an address and a name of its own.

    with Hosts(3) as hosts:
        hosts.address(1)            # of the second
        hosts.agent                 # in place of ssh: AGENT ADDRESS COMMAND... runs the command on that host
        with hosts.cut(1): ...      # its link is down
        with hosts.dropped(1): ...  # its link swallows everything
        with hosts.lossy(1, 0.05): ...
        with hosts.narrow("100mbit"): ...

All of it, and the test itself, is in namespaces of its own (`enter()`), which end with it, also when it is
killed; the bridge is in the test's, so that a client there reaches every host. Needs root and util-linux,
iproute2, iptables.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile

INSIDE = "BATON_HOSTS_INSIDE"
NET = "10.200.0"
# PID 1 of the namespaces: it stays, to collect what loses its parent.
INIT = (
    "ip link set lo up && mkdir -p /run/netns && mount -t tmpfs netns /run/netns || exit 77\n" '"$@"\nexit $?'
)


def run(*command):
    out = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if out.returncode:
        raise RuntimeError("%s: %s" % (" ".join(command), out.stderr.strip()))
    return out.stdout


def enter():
    """Starts this program again, in its namespaces. Returns there None, else why this machine cannot have
    such hosts."""
    if os.environ.get(INSIDE):
        return missing()
    if os.geteuid() != 0:
        return "not root: network namespaces need it"
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for tool in ("ip", "tc", "iptables", "unshare"):
        if not shutil.which(tool):
            return "no %s here: install iproute2, iptables and util-linux" % tool
    line = "unshare --mount --net --pid --fork --mount-proc --kill-child sh -c".split() + [INIT, "init"]
    try:
        run(*line, "true")
    except RuntimeError as e:
        return str(e)
    sys.stdout.flush()
    os.environ[INSIDE] = "1"
    os.execvp(line[0], [*line, sys.executable, *sys.argv])


def missing():
    """Tries what tests do: two hosts, what befalls their links, a connection from one to the other."""
    serve = (
        "import socket; s = socket.create_server(('', 1)); print(flush=True); s.settimeout(20); s.accept()"
    )
    reach = "import socket; socket.create_connection(('%s', 1), 10)"
    try:
        with Hosts(2) as hosts, hosts.narrow("1gbit"):
            with hosts.lossy(0, 0.5):
                pass
            line = [*hosts.inside(1), sys.executable, "-c", serve]
            with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as server:
                server.stdout.readline()
                try:
                    run(*hosts.inside(0), sys.executable, "-c", reach % hosts.address(1))
                finally:
                    server.kill()
    except RuntimeError as e:
        return str(e)
    return None


class Hosts:
    network = NET + ".0/24"

    def __init__(self, count):
        self.count = count

    def name(self, i):
        return "host%d" % i

    def port(self, i):
        """The bridge's end of the link of a host."""
        return "link%d" % i

    def address(self, i):
        return "%s.%d" % (NET, i + 1)

    def inside(self, i):
        return ("ip", "netns", "exec", self.name(i))

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="baton-hosts-")
        self.agent = self.folder.name + "/agent"
        try:
            self.make()
        except Exception:
            self.__exit__(None, None, None)
            raise
        return self

    def make(self):
        run("ip", "link", "add", "bridge", "type", "bridge")
        run("ip", "addr", "add", NET + ".254/24", "dev", "bridge")
        run("ip", "link", "set", "bridge", "up")
        for i in range(self.count):
            run("ip", "netns", "add", self.name(i))
            peer = ("peer", "name", "eth0", "netns", self.name(i))
            run("ip", "link", "add", self.port(i), "type", "veth", *peer)
            run("ip", "link", "set", self.port(i), "master", "bridge", "up")
            run(*self.inside(i), "ip", "addr", "add", self.address(i) + "/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                run(*self.inside(i), "ip", "link", "set", device, "up")
        # What ssh would do: the command's words are for a shell there, whose environment is its own. Each
        # host has its name, and says that its memory is not shared with the others, which one kernel cannot
        # tell.
        own = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root"}
        own.update((k, v) for k, v in os.environ.items() if k.endswith("SAN_OPTIONS"))
        with open(self.agent, "w") as f:
            f.write(
                "#!/bin/sh\nsleep ${BATON_LOGIN_S:-0}\naddress=$1; shift\n"
                "host=host$((${address##*.} - 1))\n"
                'exec ip netns exec "$host" unshare -u env -i %s "BATON_HOST_ID=$host" '
                'sh -c "hostname $host; exec $*"\n' % shlex.join("%s=%s" % item for item in own.items())
            )
        os.chmod(self.agent, 0o755)

    def __exit__(self, kind, value, trace):
        """With what still runs there."""
        for i in range(self.count):
            pids = subprocess.run(["ip", "netns", "pids", self.name(i)], capture_output=True, text=True)
            for pid in pids.stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), 9)
            subprocess.run(["ip", "netns", "del", self.name(i)], capture_output=True)
            # A namespace ends some time after its last process.
            subprocess.run(["ip", "link", "del", self.port(i)], capture_output=True)
        subprocess.run(["ip", "link", "del", "bridge"], capture_output=True)
        self.folder.cleanup()

    @contextlib.contextmanager
    def between(self, begin, end):
        for command in begin:
            run(*command)
        try:
            yield
        finally:
            for command in end:
                run(*command)

    def cut(self, i):
        return self.between(
            [("ip", "link", "set", self.port(i), "down")], [("ip", "link", "set", self.port(i), "up")]
        )

    def filtered(self, i, *rule):
        """Both directions of a host's link, but for its own loopback."""
        begin, end = [], []
        for chain, way in (("INPUT", "-i"), ("OUTPUT", "-o")):
            what = (chain, way, "eth0") + rule + ("-j", "DROP")
            begin.append(self.inside(i) + ("iptables", "-w", "-A") + what)
            end.append(self.inside(i) + ("iptables", "-w", "-D") + what)
        return self.between(begin, end)

    def dropped(self, i):
        return self.filtered(i)

    def lossy(self, i, share):
        return self.filtered(i, "-m", "statistic", "--mode", "random", "--probability", str(share))

    def narrow(self, rate):
        """Whatever a host sends leaves at this rate."""
        shape = ("root", "tbf", "rate", rate, "burst", "128kb", "latency", "50ms")
        begin = [self.inside(i) + ("tc", "qdisc", "add", "dev", "eth0") + shape for i in range(self.count)]
        end = [self.inside(i) + ("tc", "qdisc", "del", "dev", "eth0", "root") for i in range(self.count)]
        return self.between(begin, end)
