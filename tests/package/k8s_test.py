#!/usr/bin/env python3
"""deploy/k8s without a cluster: every object keeps to the schemas of Kubernetes, and what one file says of
another is so (names, ports, counts, time limits, users, packages, arguments)."""

import json
import os
import re
import shutil
import subprocess
import sys

import kubernetes_validate
import yaml

import kustomize

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
K8S = ROOT + "/deploy/k8s"
CONFIG = K8S + "/base/cluster.yaml"
CONTAINERFILE = K8S + "/Containerfile"
BIN = os.environ["BATON_BIN"]
VERSIONS = ("1.29.0", "1.37.0")  # the oldest and the newest that are claimed
FOLDERS = ("base", "cpu", "gpu")


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def workloads(objects):
    return [o for o in objects if o["kind"] in ("Deployment", "StatefulSet")]


def pod_of(o):
    return o["spec"]["template"]["spec"]


def container_of(o):
    (container,) = pod_of(o)["containers"]
    return container


def role_of(o):
    return o["metadata"]["labels"]["app.kubernetes.io/component"]


def objects_keep_to_the_schemas(objects):
    for o in objects:
        for version in VERSIONS:
            kubernetes_validate.validate(o, version, strict=True)


def a_slip_is_noticed(objects):
    """That the validation above is one."""
    wrong = json.loads(json.dumps(workloads(objects)[0]))
    container_of(wrong)["readynessProbe"] = {}
    try:
        kubernetes_validate.validate(wrong, VERSIONS[1], strict=True)
    except kubernetes_validate.ValidationError:
        return
    raise AssertionError("a misspelt field was not refused")


def rendering_is_kubectls(folder, objects):
    if not shutil.which("kubectl"):
        return "no kubectl to compare with"
    done = subprocess.run(
        ["kubectl", "kustomize", K8S + "/" + folder], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    text = re.sub(r"\bbaton-config-[a-z0-9]{10}\b", "baton-config", done.stdout)
    theirs = {kustomize.identity(o): o for o in yaml.safe_load_all(text)}
    ours = {kustomize.identity(o): o for o in objects}
    assert set(theirs) == set(ours), set(theirs) ^ set(ours)
    for key, o in theirs.items():
        assert o == ours[key], (key, o, ours[key])
    return "as kubectl kustomize"


def selectors_and_ports_meet(objects):
    pods = [o["spec"]["template"]["metadata"]["labels"] for o in workloads(objects)]
    for o in workloads(objects):
        assert o["spec"]["selector"]["matchLabels"] == o["spec"]["template"]["metadata"]["labels"]
    for o in objects:
        spec = o.get("spec", {})
        wanted = {
            "Service": spec.get("selector"),
            "PodDisruptionBudget": spec.get("selector", {}).get("matchLabels"),
            "NetworkPolicy": spec.get("podSelector", {}).get("matchLabels"),
        }.get(o["kind"])
        assert wanted is None or wanted in pods, o
        if o["kind"] == "Service":
            (target,) = [w for w in workloads(objects) if role_of(w) == wanted["app.kubernetes.io/component"]]
            ports = {p["name"]: p["containerPort"] for p in container_of(target).get("ports", [])}
            for port in spec.get("ports", []):
                assert ports[port["targetPort"]] == port["port"], (o["metadata"], port)
    services = {o["metadata"]["name"]: o["spec"] for o in objects if o["kind"] == "Service"}
    for o in workloads(objects):
        assert o["kind"] == "Deployment" or o["spec"]["serviceName"] in services
    # The coordinator is not ready before workers have joined, so they must find it before it is.
    assert services["baton-control"]["publishNotReadyAddresses"] is True
    assert "publishNotReadyAddresses" not in services["baton"]


def config_and_manifests_agree(objects):
    config = yaml.safe_load(read(CONFIG))
    services = {o["metadata"]["name"]: o["spec"] for o in objects if o["kind"] == "Service"}
    host, port = re.fullmatch(r"tcp://([\w-]+):(\d+)", config["cluster"]["control"]).groups()
    assert int(port) in [p["port"] for p in services[host]["ports"]]
    assert config["handoff"]["transport"] in ("auto", "zmq")
    drain_s = config["limits"]["drain_ms"] / 1000
    for o in workloads(objects):
        role, container, grace = role_of(o), container_of(o), pod_of(o)["terminationGracePeriodSeconds"]
        before = 0
        if role == "coordinator":
            assert o["spec"]["replicas"] == 1 and o["spec"]["strategy"] == {"type": "Recreate"}
            script, where, before = container["lifecycle"]["preStop"]["exec"]["command"]
            assert (script, where) == ("/usr/libexec/baton/wait-idle.sh", "127.0.0.1:8000")
        else:
            assert config[role]["count"] == o["spec"]["replicas"], role
            for probe in ("startupProbe", "readinessProbe"):
                script, asked, endpoint, key = container[probe]["exec"]["command"]
                assert (script, asked) == ("/usr/libexec/baton/worker-ready.sh", role)
                assert key == config["cluster"]["client_key_file"]
                name, port = re.fullmatch(r"tcp://([\w-]+):(\d+)", endpoint).groups()
                assert int(port) in [p["port"] for p in services[name]["ports"]]
            assert "livenessProbe" not in container
        assert grace >= int(before) + drain_s + 10, (role, grace)


def keys_are_in_every_pod(objects):
    config = yaml.safe_load(read(CONFIG))
    cluster = config["cluster"]
    assert "insecure" not in cluster
    files = {"cluster.key": cluster["key_file"], "client.key": cluster["client_key_file"]}
    for o in workloads(objects):
        wanted = dict(files)
        if role_of(o) == "coordinator":
            wanted["api.keys"] = config["http"]["api_key_file"]
        (volume,) = [v["secret"] for v in pod_of(o)["volumes"] if "secret" in v]
        (mount,) = [m for m in container_of(o)["volumeMounts"] if m["name"] == "keys"]
        assert volume["secretName"] == "baton-keys" and volume["defaultMode"] == 0o440 and mount["readOnly"]
        assert all(path == mount["mountPath"] + "/" + name for name, path in wanted.items())
        # Without items the whole Secret is there.
        assert role_of(o) == "coordinator" or {i["key"] for i in volume["items"]} == set(wanted)


def probed_paths_are_there(objects):
    routes = set(re.findall(r'^    \{"(/\w+)", page_', read(ROOT + "/coordinator/http.c"), re.M))
    for o in workloads(objects):
        container = container_of(o)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            http = container.get(probe, {}).get("httpGet")
            assert not http or http["path"] in routes, http


def programs_take_their_arguments(objects):
    for o in workloads(objects):
        program, path, *more = container_of(o)["args"]
        assert path == "/etc/baton/cluster.yaml" and program == "baton-" + role_of(o)
        line = [BIN + "/" + program, "--check", CONFIG, *more]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (line, done.stderr)
    control = {"coordinator": "tcp://0.0.0.0:8001"}
    for o in workloads(objects):
        sets = [a for a in container_of(o)["args"] if a.startswith("cluster.control=")]
        assert sets == (["cluster.control=" + control[role_of(o)]] if role_of(o) in control else [])


def pods_are_hardened(objects):
    user = int(re.search(r"^USER (\d+):(\d+)$", read(CONTAINERFILE), re.M)[1])
    for o in workloads(objects):
        pod, container = pod_of(o), container_of(o)
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == user > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        own = container["securityContext"]
        assert own["readOnlyRootFilesystem"] and own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        mounts = {m["name"]: m for m in container["volumeMounts"]}
        assert mounts["models"]["readOnly"] and mounts["config"]["readOnly"]
        assert set(mounts) == {v["name"] for v in pod["volumes"]}


def gpus_are_asked_for(folder, objects):
    for o in workloads(objects):
        gpus = container_of(o)["resources"]["limits"].get("nvidia.com/gpu", 0)
        assert gpus == (folder == "gpu" and role_of(o) != "coordinator"), (folder, role_of(o))
        assert container_of(o)["image"] == ("baton:cuda" if folder == "gpu" else "baton:cpu")


def containerfile_is_right():
    text = read(CONTAINERFILE)
    hadolint = os.path.join(os.path.dirname(sys.executable), "hadolint")
    # DL3008: versions are those of Debian 12.
    done = subprocess.run(
        [hadolint, "--ignore", "DL3008", CONTAINERFILE], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.M):
        for source in line.split()[:-1]:
            assert os.path.exists(os.path.join(ROOT, source)), source
    depends = subprocess.run(
        ["dpkg-deb", "-f", os.environ["BATON_DEB"], "Depends"], capture_output=True, text=True, check=True
    ).stdout
    linked = {re.match(r"[\w.+-]+", d.strip())[0] for d in depends.split(",")}
    linked -= {
        "systemd",
        "libc6",
        "libstdc++6",
    }  # the last comes along with ZeroMQ; only builds with CUDA link it
    image = set(re.findall(r"^        ([a-z][\w.+-]+)(?: &&)? \\$", text.split("\nFROM ")[-1], re.M))
    assert image == linked | {"ca-certificates", "tini"}, image ^ linked


def main():
    for folder in FOLDERS:
        objects = kustomize.render(K8S + "/" + folder)
        objects_keep_to_the_schemas(objects)
        a_slip_is_noticed(objects)
        how = rendering_is_kubectls(folder, objects)
        selectors_and_ports_meet(objects)
        config_and_manifests_agree(objects)
        keys_are_in_every_pod(objects)
        probed_paths_are_there(objects)
        programs_take_their_arguments(objects)
        pods_are_hardened(objects)
        gpus_are_asked_for(folder, objects)
        print("%s: %d objects, valid in %s; %s" % (folder, len(objects), " and ".join(VERSIONS), how))
    containerfile_is_right()
    print("Containerfile: clean")
    return 0


if __name__ == "__main__":
    sys.exit(main())
