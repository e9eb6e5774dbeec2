#!/usr/bin/env python3
"""The manifests' own commands, probes and hooks, each pod played by namespaces on this machine: an address
and a host name of its own, the pod's user without capabilities, a read-only system, the package's programs,
the ConfigMap's file. What a Service does, a line of /etc/hosts does here. Checked: workers join and hand KV
over from pod to pod, probes tell the truth, a coordinator that dies is replaced, everybody leaves in order.

Root only; otherwise it says why it is skipped (exit status 77). BATON_DEB in the environment is the package.
"""

import os
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests/e2e"))
import harness  # noqa: E402
import kustomize  # noqa: E402

INSIDE = "BATON_PODS_INSIDE"
ADDRESSES = {
    "baton-coordinator": "10.77.0.2",
    "baton-prefill-0": "10.77.0.3",
    "baton-decode-0": "10.77.0.4",
    "baton-decode-1": "10.77.0.5",
}
# Becomes the container. TREE and ETC lie over /usr and /etc; the rest of the system is read-only as it is in
# the image.
CONTAINER = """
set -e
mount -t overlay usr -o "lowerdir=$TREE/usr:/usr" /usr
mount -t overlay etc -o "lowerdir=$ETC:/etc" /etc
mount -o remount,bind,ro /
cd /
exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups --no-new-privs --bounding-set=-all \
    --inh-caps=-all --pdeathsig KILL env -i PATH=/usr/bin:/bin HOME=/ "$@"
"""


def run(*line):
    return subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)


def must(*line):
    done = run(*line)
    assert done.returncode == 0, (line, done.stdout)
    return done.stdout


class Pod:
    """Network and host name are the pod's and outlive a container, as they do with the kubelet."""

    def __init__(self, name, workload, tree, etc, log):
        spec = workload["spec"]["template"]["spec"]
        (self.container,) = spec["containers"]
        user = str(spec["securityContext"]["runAsUser"])
        self.env = dict(os.environ, TREE=tree, ETC=etc, USER_ID=user)
        self.log = log
        self.sandbox = subprocess.Popen(["unshare", "--net", "--uts", "sleep", "infinity"])
        pid = str(self.sandbox.pid)
        own = os.readlink("/proc/self/ns/uts")
        harness.wait_for("namespaces", lambda: os.readlink("/proc/%s/ns/uts" % pid) != own)
        port = "pod" + ADDRESSES[name].rsplit(".", 1)[1]
        must("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", pid)
        must("ip", "link", "set", port, "master", "pods", "up")
        self.within = ["nsenter", "-t", pid, "-n", "-u"]
        must(*self.within, "hostname", name)
        must(*self.within, "ip", "address", "add", ADDRESSES[name] + "/24", "dev", "eth0")
        must(*self.within, "ip", "link", "set", "eth0", "up")
        must(*self.within, "ip", "link", "set", "lo", "up")
        self.start()

    def start(self):
        line = [*self.within, "unshare", "--mount", "bash", "-c", CONTAINER, "pod", *self.container["args"]]
        self.process = subprocess.Popen(
            line, env=self.env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )

    def command(self, what):
        """As the kubelet runs a probe or a hook: in the container."""
        return run("nsenter", "-t", str(self.process.pid), "-n", "-u", "-m", *what["exec"]["command"])

    def http(self, probe):
        path = self.container[probe]["httpGet"]["path"]
        url = "http://127.0.0.1:8000" + path
        return run(
            *self.within, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--noproxy", "*", url
        ).stdout

    def alive(self):
        return self.process.poll() is None

    def is_ready(self):
        assert self.alive(), "a pod ended with %d" % self.process.returncode
        probe = self.container["readinessProbe"]
        return (
            self.command(probe).returncode == 0 if "exec" in probe else self.http("readinessProbe") == "200"
        )

    def ends_in_order(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(120) == 0, self.process.returncode

    def kill(self):
        self.process.kill()
        self.process.wait()


API_KEY = "sk-0123456789abcdef"


def story(start):
    pods = {name: start(name) for name in ADDRESSES if name != "baton-coordinator"}
    pods["baton-coordinator"] = front = start("baton-coordinator")
    for name, pod in pods.items():
        harness.wait_for(name + " is ready", pod.is_ready)
    assert front.http("livenessProbe") == "200"
    answers = {complete(front) for _ in range(4)}  # to both decode workers
    assert len(answers) == 1, answers

    front.kill()
    front.start()
    harness.wait_for("the new coordinator is ready", front.is_ready)
    for name, pod in pods.items():
        harness.wait_for(name + " is ready again", pod.is_ready)
    assert complete(front) in answers

    pods["baton-decode-0"].ends_in_order()
    assert complete(front) in answers  # by the other one
    pods["baton-prefill-0"].ends_in_order()
    harness.wait_for("that no request can be served", lambda: front.http("readinessProbe") == "503")
    assert front.http("livenessProbe") == "200"
    hook = front.command(front.container["lifecycle"]["preStop"])
    assert hook.returncode == 0, hook.stdout
    front.ends_in_order()
    assert pods["baton-decode-1"].process.wait(120) == 0  # was told to leave


def complete(front):
    body = '{"prompt": "%s", "max_tokens": 6, "ignore_eos": true, "seed": 1}' % ("pod " * 40)
    line = ["curl", "-s", "-m", "100", "--noproxy", "*", "http://127.0.0.1:8000/v1/completions", "-d", body]
    assert must(*front.within, *line).strip() == '{"error":"Unauthorized"}'
    text = must(*front.within, *line, "-f", "-H", "Authorization: Bearer " + API_KEY)
    return text.split('"text":')[1].split('"logprobs"')[0]


def inside():
    """In namespaces of the test's own, which end with it and take all pods along."""
    must("ip", "link", "add", "pods", "type", "bridge")
    must("ip", "link", "set", "pods", "up")
    objects = kustomize.render(ROOT + "/deploy/k8s/base")
    workloads = {o["metadata"]["name"]: o for o in objects if o["kind"] in ("Deployment", "StatefulSet")}
    (config,) = [o["data"]["cluster.yaml"] for o in objects if o["kind"] == "ConfigMap"]
    with tempfile.TemporaryDirectory(prefix="baton-pods-") as d:
        os.chmod(d, 0o755)
        must("dpkg-deb", "-x", os.environ["BATON_DEB"], d + "/tree")
        os.makedirs(d + "/etc/baton")
        with open(d + "/etc/baton/cluster.yaml", "w", encoding="utf-8") as f:
            f.write(config.replace("path: /models/model.gguf", "path: random:tiny"))
        must(d + "/tree/usr/bin/baton-ctl", "keygen", d + "/etc/baton-keys")
        with open(d + "/etc/baton-keys/api.keys", "w", encoding="utf-8") as f:
            f.write("me %s\n" % API_KEY)
        for name in os.listdir(d + "/etc/baton-keys"):  # as the Secret's volume has it
            os.chown(d + "/etc/baton-keys/" + name, 0, 10001)
            os.chmod(d + "/etc/baton-keys/" + name, 0o440)
        os.chmod(d + "/etc/baton-keys", 0o755)
        with open(d + "/etc/hosts", "w", encoding="utf-8") as f:
            f.write("127.0.0.1 localhost\n%s baton-control\n" % ADDRESSES["baton-coordinator"])
        with open(d + "/log", "w+", encoding="utf-8") as log:

            def start(name):
                workload = workloads[name.rstrip("-0123456789")]
                return Pod(name, workload, d + "/tree", d + "/etc", log)

            try:
                story(start)
            except BaseException:
                with open(d + "/log", encoding="utf-8", errors="replace") as f:
                    print(f.read()[-18000:])
                raise
    print("pods: served, lost their coordinator, left in order")
    return 0


def main():
    if os.environ.get(INSIDE):
        return inside()
    line = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid() != 0:
        print("skipped: not root")
        return 77
    probe = run(
        *line, "sh", "-c", "ip link add pods type bridge && mount -t overlay o -o lowerdir=/usr:/etc /mnt"
    )
    if probe.returncode:
        print("skipped: no namespaces, bridge or overlay here: " + probe.stdout.strip())
        return 77
    return subprocess.run(
        [*line, sys.executable, *sys.argv], env=dict(os.environ, **{INSIDE: "1"})
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
