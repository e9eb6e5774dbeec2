"""Several hosts on one machine: network namespaces on a bridge, each with an address and a name of its own.

    with Hosts(3) as hosts:
        hosts.address(1)            # of the second
        hosts.agent                 # in place of ssh: AGENT ADDRESS COMMAND... runs the command on that host
        with hosts.cut(1): ...      # its link is down
        with hosts.dropped(1): ...  # its link swallows everything
        with hosts.lossy(1, 0.05): ...
        with hosts.narrow("100mbit"): ...

The machine itself has a leg on the bridge, so that a client here reaches every host. Names carry this
process's number. Everything goes at the end, with what still runs there, also when this process is killed:
a guard sees that, by the end of a pipe. Should it be killed, too, the next run removes what they left. Needs
root and the tools of `missing()`.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile

PREFIX = "btn"


def run(*command):
    out = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if out.returncode:
        raise RuntimeError("%s: %s" % (" ".join(command), out.stderr.strip()))
    return out.stdout


def missing():
    """Why this machine cannot have such hosts; None when it can."""
    if os.geteuid() != 0:
        return "not root: network namespaces need it"
    for tool in ("ip", "tc", "iptables", "unshare"):
        if not shutil.which(tool):
            return "no %s here: install iproute2, iptables and util-linux" % tool
    try:
        with Hosts(1) as hosts:
            with hosts.narrow("1gbit"), hosts.lossy(0, 0.5):
                pass
    except RuntimeError as e:
        return str(e)
    return None


def parts():
    """What there is of any run: {name: ("netns" or "link", process number)}, hosts before links."""
    out = {}
    for kind, command in (("netns", ("ip", "netns", "list")), ("link", ("ip", "-br", "link"))):
        for name, pid in re.findall(r"^(%s(\d+)[a-z]\d*)" % PREFIX, run(*command), re.M):
            out[name] = (kind, int(pid))
    return out


def remove(kind, name):
    """Of a host, with what runs there."""
    pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split()
    for pid in pids if kind == "netns" else []:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), 9)
    subprocess.run(["ip", kind, "del", name], capture_output=True)


def remove_all(wanted):
    for name, (kind, pid) in parts().items():
        if wanted(pid):
            remove(kind, name)


def remove_leftovers():
    """Of processes that are not there any more."""
    remove_all(lambda pid: not os.path.exists("/proc/%d" % pid))


class Hosts:
    def __init__(self, count):
        self.count = count
        self.tag = "%s%d" % (PREFIX, os.getpid())
        self.bridge = self.tag + "b"
        self.net = "10.%d.%d" % (200 + os.getpid() // 256 % 50, os.getpid() % 256)

    def name(self, i):
        return "%sh%d" % (self.tag, i)

    def port(self, i):
        """The bridge's end of the link of a host."""
        return "%sv%d" % (self.tag, i)

    def address(self, i):
        return "%s.%d" % (self.net, i + 1)

    @property
    def network(self):
        return self.net + ".0/24"

    def inside(self, i):
        return ("ip", "netns", "exec", self.name(i))

    def __enter__(self):
        remove_leftovers()
        self.folder = tempfile.TemporaryDirectory(prefix="baton-hosts-")
        self.agent = self.folder.name + "/agent"
        self.guard = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), str(os.getpid())],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self.make()
        except Exception:
            self.__exit__(None, None, None)
            raise
        return self

    def make(self):
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "addr", "add", self.net + ".254/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
        for i in range(self.count):
            run("ip", "netns", "add", self.name(i))
            run(
                "ip",
                "link",
                "add",
                self.port(i),
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                self.name(i),
            )
            run("ip", "link", "set", self.port(i), "master", self.bridge, "up")
            run(*self.inside(i), "ip", "addr", "add", self.address(i) + "/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                run(*self.inside(i), "ip", "link", "set", device, "up")
        # What ssh would do: the command's words are for a shell there. Each host has its name, and says that
        # its memory is not shared with the others, which one kernel cannot tell.
        with open(self.agent, "w") as f:
            f.write(
                "#!/bin/sh\nsleep ${BATON_LOGIN_S:-0}\naddress=$1; shift\n"
                "host=%sh$((${address##*.} - 1))\n"
                'exec ip netns exec "$host" unshare -u sh -c "hostname $host; '
                'export BATON_HOST_ID=$host; exec $*"\n' % self.tag
            )
        os.chmod(self.agent, 0o755)

    def __exit__(self, kind, value, trace):
        remove_all(lambda pid: pid == os.getpid())
        self.guard.stdin.close()
        self.guard.wait()
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


if __name__ == "__main__":  # the guard of the process whose number it is given
    sys.stdin.read()
    remove_all(lambda pid: pid == int(sys.argv[1]))
