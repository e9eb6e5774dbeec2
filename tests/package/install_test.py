#!/usr/bin/env python3
"""What is installed and packaged: `cmake --install` into a folder, the .deb that cpack makes, man pages that
tell every option, and a cluster of modelled workers that runs from the unpacked .deb alone.

  install_test.py BUILD OUT      OUT: folder where the .deb is left for the tests of its units"""

import concurrent.futures
import glob
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests/e2e"))
import harness  # noqa: E402

ROLES = ("coordinator", "prefill", "decode", "colocated")
PROGRAMS = ["baton-" + name for name in ROLES + ("bench", "plan", "ask", "ctl")]
FILES = (
    ["usr/bin/" + p for p in PROGRAMS]
    + ["usr/share/man/man1/%s.1.gz" % p for p in PROGRAMS]
    + ["usr/share/man/man5/baton.yaml.5.gz", "etc/baton/cluster.yaml", "usr/lib/sysusers.d/baton.conf"]
    + ["usr/lib/systemd/system/" + u for u in ("baton-coordinator.service", "baton-worker@.service")]
    + ["usr/libexec/baton/" + s for s in ("wait-idle.sh", "worker-ready.sh")]
    + ["usr/share/doc/baton/" + d for d in ("README.md", "changelog.gz", "copyright")]
    + ["usr/share/doc/baton/examples/" + d for d in ("ask.c", "ask.py", "client.proto")]
    + ["usr/share/baton/config/" + os.path.basename(p) for p in glob.glob(ROOT + "/deploy/config/*.yaml")]
)


def out_of(*line, **kw):
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, **kw)
    assert done.returncode == 0, (line, done.stdout + done.stderr)
    return done.stdout


def files_of(tree):
    return {
        os.path.relpath(os.path.join(folder, name), tree)
        for folder, _, names in os.walk(tree)
        for name in names
    }


def install_obeys_prefix_and_destdir(build):
    with tempfile.TemporaryDirectory() as d:
        env = dict(os.environ, DESTDIR=d)
        out_of("cmake", "--install", build, "--prefix", "/usr", env=env)
        assert files_of(d) == set(FILES), files_of(d) ^ set(FILES)
        assert out_of(d + "/usr/bin/baton-coordinator", "--version").startswith("baton-coordinator ")
    with tempfile.TemporaryDirectory() as d:
        out_of("cmake", "--install", build, "--prefix", d + "/opt")
        units = ("usr/lib/systemd/", "usr/lib/sysusers.d/")  # name paths of /usr alone
        below = {f[4:] if f.startswith("usr/") else f for f in FILES if not f.startswith(units)}
        assert files_of(d + "/opt") == below, files_of(d + "/opt") ^ below
    print("install: %d files" % len(FILES))


def package_of(build, out):
    """In a folder of its own: the build's may be in use."""
    os.makedirs(out, exist_ok=True)
    for old in glob.glob(out + "/*.deb"):
        os.remove(old)
    out_of("cpack", "-G", "DEB", "-B", out, "--config", build + "/CPackConfig.cmake", cwd=out)
    (deb,) = glob.glob(out + "/*.deb")
    return deb


def control_is_complete(deb):
    listed = out_of("dpkg-deb", "-c", deb).splitlines()
    names = {line.split()[5][2:] for line in listed if line[0] == "-"}
    assert names == set(FILES), names ^ set(FILES)
    assert all("root/root" in line for line in listed)
    assert not [line for line in listed if line[5] == "w" or line[8] == "w"], "writable by others"
    depends = out_of("dpkg-deb", "-f", deb, "Depends")
    for package in (
        "libc6 (>=",
        "libevent-openssl-2.1-7",
        "libssl3",
        "libzmq5",
        "libjansson4",
        "libcyaml1",
        "systemd",
    ):
        assert package in depends, depends
    with tempfile.TemporaryDirectory() as d:
        out_of("dpkg-deb", "-e", deb, d)
        assert {"control", "conffiles", "md5sums", "postinst", "postrm", "prerm"} == set(os.listdir(d))
        with open(d + "/conffiles", encoding="ascii") as f:
            assert f.read().split() == sorted("/" + n for n in names if n.startswith("etc/"))
        for script in ("postinst", "postrm", "prerm"):
            out_of("shellcheck", d + "/" + script)
    print(
        "deb: %s, %d kB, depends on %s"
        % (os.path.basename(deb), os.path.getsize(deb) // 1000, depends.strip())
    )


def man_pages_tell_every_option(tree):
    for program in PROGRAMS:
        with gzip.open("%s/usr/share/man/man1/%s.1.gz" % (tree, program), "rt", encoding="utf-8") as f:
            page = f.read().replace("\\-", "-")
        words = re.findall(
            r"^  (serve|goodput|experiment|report) ", out_of(tree + "/usr/bin/" + program, "--help"), re.M
        )
        for more in [[], *([w] for w in words)]:
            told = out_of(tree + "/usr/bin/" + program, *more, "--help")
            options = set(re.findall(r"^\s{2,6}(?:-\w, )?(--[\w-]+)", told, re.M))
            missing = [o for o in options if not re.search(r"^\.B .*%s\b" % o, page, re.M)]
            assert not missing, (program, more, missing)
    with gzip.open(tree + "/usr/share/man/man5/baton.yaml.5.gz", "rt", encoding="utf-8") as f:
        page = f.read()
    with open(ROOT + "/deploy/config/local.yaml", encoding="utf-8") as f:
        keys = re.findall(r"^  (\w+):", f.read(), re.M)
    assert re.findall(r"^\.TP\n\.B (\w+)$", page, re.M) == keys
    for path in glob.glob(tree + "/usr/share/man/man*/*.gz"):
        text = gzip.open(path, "rb").read()
        if os.path.exists("/usr/bin/groff"):
            done = subprocess.run(
                ["groff", "-man", "-Tutf8", "-ww", "-Wbreak", "-z"],
                input=text,
                capture_output=True,
                check=True,
            )
            assert not done.stderr, (path, done.stderr)
    print("man: %d pages, %d keys" % (len(PROGRAMS) + 1, len(keys)))


def waiting_ends_with_the_requests(libexec, http, decode, url):
    """A request that stands, since its decode worker does, and one that may end."""
    line = [libexec + "/wait-idle.sh", "127.0.0.1:%d" % http]
    body = json.dumps({"prompt": "Hi", "max_tokens": 4}).encode()
    headers = {"content-type": "application/json"}
    decode.send_signal(signal.SIGSTOP)
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = urllib.request.Request(url + "/v1/completions", body, headers)
            answer = pool.submit(lambda: urllib.request.urlopen(asked, timeout=300).read())
            idle = '"requests":{"queued":0,"prefill":0,"wait_kv":0,"decode":0}'
            harness.wait_for("the request", lambda: idle not in health_of(url))
            busy = subprocess.run([*line, "0"], capture_output=True, text=True, timeout=60)
            assert busy.returncode == 1 and "has requests still" in busy.stderr, busy
            decode.send_signal(signal.SIGCONT)
            out_of(*line, "120")
            assert json.loads(answer.result())["usage"]["completion_tokens"] > 0
    finally:
        decode.send_signal(signal.SIGCONT)


def health_of(url):
    try:
        with urllib.request.urlopen(url + "/health", timeout=60) as r:
            return r.read().decode()
    except urllib.error.HTTPError as e:
        return e.read().decode()
    except OSError:  # nobody listens yet
        return "{}"


def cluster_runs_from_the_package(tree):
    """Programs and config of the unpacked .deb, each process by hand; workers leave in order at the end."""
    http, control, client = harness.free_ports(3)
    line = [
        tree + "/usr/share/baton/config/mock.yaml",
        *("--set", "cluster.http=127.0.0.1:%d" % http),
        *("--set", "cluster.control=tcp://127.0.0.1:%d" % control),
        *("--set", "cluster.client=tcp://127.0.0.1:%d" % client),
        *(
            "--set",
            "mock.latency=instant",
            "--set",
            "prefill.kv_memory_mb=64",
            "--set",
            "decode.kv_memory_mb=64",
        ),
    ]
    url = "http://127.0.0.1:%d" % http
    started = [
        subprocess.Popen([tree + "/usr/bin/baton-" + role, *line], stdout=subprocess.DEVNULL, cwd=tree)
        for role in ROLES[:3]
    ]
    try:

        def workers():
            assert all(p.poll() is None for p in started), "a process of the package ended"
            return json.loads(health_of(url)).get("status") == "ok"

        harness.wait_for("all workers", workers)
        told = out_of(
            tree + "/usr/bin/baton-ask", "-e", "tcp://127.0.0.1:%d" % client, "--max-tokens=4", "Hi"
        )
        assert told.strip(), told
        libexec = tree + "/usr/libexec/baton"
        out_of(libexec + "/wait-idle.sh", "127.0.0.1:%d" % http, "60")
        for role in ("prefill", "decode"):
            out_of(libexec + "/worker-ready.sh", role, "tcp://127.0.0.1:%d" % client)
        none = subprocess.run(
            [libexec + "/worker-ready.sh", "colocated", "tcp://127.0.0.1:%d" % client],
            capture_output=True,
            text=True,
        )
        assert none.returncode == 1 and "knows no ready colocated worker" in none.stderr, none
        waiting_ends_with_the_requests(libexec, http, started[2], url)
        for process in reversed(started):
            process.terminate()
            assert process.wait(60) == 0
    finally:
        for process in started:
            process.kill()
            process.wait()
    print("cluster: served from the unpacked package")


def main():
    build, out = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    install_obeys_prefix_and_destdir(build)
    deb = package_of(build, out)
    control_is_complete(deb)
    with tempfile.TemporaryDirectory(prefix="baton-deb-") as tree:
        out_of("dpkg-deb", "-x", deb, tree)
        man_pages_tell_every_option(tree)
        cluster_runs_from_the_package(tree)
    os.replace(deb, out + "/baton.deb")
    return 0


if __name__ == "__main__":
    sys.exit(main())
