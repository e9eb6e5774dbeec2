#!/usr/bin/env python3
"""Each rule of layers.py finds what is planted against it, names it, and passes a tree without it."""

import os
import subprocess
import sys
import tempfile

LINT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "layers.py")
CLEAN = {
    "common/base/mem.h": "#include <stdint.h>\n",
    "common/base/ring.h": "#include <pthread.h>\n",
    "common/base/clock.h": "#include <stdint.h>\n",
    "common/base/clock.c": '#include "base/clock.h"\n#include <time.h>\n',
    "common/token/step.h": '#include "base/mem.h"\n',
    "common/worker_core/wcore.h": '#include "token/step.h"\n',
    "common/worker_core/wcore.c": '#include "worker_core/wcore.h"\n#include "base/clock.h"\n',
    "common/engine/engine.h": '#include "token/step.h"\n#include "kernels/backend.h"\n',
    "common/worker/runtime.c": '#include "engine/engine.h"\n#include "worker_core/wcore.h"\n',
    "kernels/backend.h": '#include "base/mem.h"\n',
    "kernels/cpu/cpu.h": '#include "kernels/backend.h"\n',
    "kernels/ref/ref.h": '#include "kernels/backend.h"\n',
}
# name: (files that are changed, what the lint must say)
PLANTED = {
    "a room that may not be included": (
        {"common/token/step.h": '#include "engine/engine.h"\n'},
        "common/token/step.h:1: may not include engine/",
    ),
    "a device behind two allowed includes": (
        {"common/token/step.h": '#include "base/mem.h"\n', "common/base/mem.h": '#include "base/ring.h"\n'},
        "common/worker_core/wcore.h > common/token/step.h > common/base/mem.h > common/base/ring.h",
    ),
    "a socket behind an include": (
        {"common/base/mem.h": "#include <zmq.h>\n"},
        "common/token/step.h > common/base/mem.h > zmq.h",
    ),
    "an engine in a pure part": (
        {"common/worker_core/wcore.h": '#include "engine/engine.h"\n'},
        "common/worker_core/wcore.h > common/engine/engine.h",
    ),
    "a clock that is asked": (
        {"common/worker_core/wcore.c": "uint64_t t = clock_now_ns();\n"},
        "common/worker_core/wcore.c:1: a pure part",
    ),
    "a circle of two headers": (
        {"common/base/mem.h": '#include "base/clock.h"\n', "common/base/clock.h": '#include "base/mem.h"\n'},
        "circle: common/base/clock common/base/mem",
    ),
    "a circle through a .c file": (
        {"common/base/clock.c": '#include "base/mem.h"\n', "common/base/mem.h": '#include "base/clock.h"\n'},
        "circle: common/base/clock common/base/mem",
    ),
    "a circle of three": (
        {
            "common/base/mem.h": '#include "base/a.h"\n',
            "common/base/a.h": '#include "base/b.h"\n',
            "common/base/b.c": '#include "base/mem.h"\n',
            "common/base/b.h": "\n",
        },
        "circle: common/base/a common/base/b common/base/mem",
    ),
    "one backend that knows another": (
        {"kernels/cpu/cpu.h": '#include "kernels/ref/ref.h"\n'},
        "kernels/cpu/cpu.h:1: kernels/cpu may not include",
    ),
    "a layer above that knows a backend": (
        {"common/engine/engine.h": '#include "kernels/cpu/cpu.h"\n'},
        "common/engine/engine.h:1: only kernels/backends.c knows",
    ),
    "a layer above that asks for CUDA": (
        {"common/worker/runtime.c": "#ifdef BATON_CUDA\n#endif\n"},
        "common/worker/runtime.c:1: only kernels/backends.c knows",
    ),
}
NINJA = """rule link
  command = cc -o $out $in $libs
build main.o: phony
build tests/cluster_cluster_test: link main.o
  libs = {cluster}
build tests/unit_prefill_core_test: link main.o
  libs = libbaton_worker_core.a libbaton_base.a
build tests/unit_steady_test: link main.o
  libs = libbaton_stats.a libbaton_base.a
build tests/planner_fit_test: link main.o
  libs = libbaton_plan_profile_core.a libbaton_latency.a libbaton_base.a
build bin/baton-coordinator: link main.o
  libs = libbaton_text.a libbaton_net.a -lzmq
"""


def lint(folder, *args):
    run = subprocess.run([sys.executable, LINT, "--root", folder, *args], capture_output=True, text=True)
    return run.returncode, run.stdout + run.stderr


def tree(folder, files):
    for name, text in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
    subprocess.run(["git", "-C", folder, "init", "-q"], check=True)


def includes():
    with tempfile.TemporaryDirectory() as folder:
        tree(folder, CLEAN)
        code, text = lint(folder)
        assert (code, text) == (0, "layers: clean\n"), text
    for name, (files, want) in PLANTED.items():
        with tempfile.TemporaryDirectory() as folder:
            tree(folder, {**CLEAN, **files})
            code, text = lint(folder)
            assert code == 1 and want in text, f"{name}: exit {code}, want '{want}' in:\n{text}"
    print(f"layers.py finds all {len(PLANTED)} planted breaches")


def links():
    good = "libbaton_worker_core.a libbaton_kv.a -lprotobuf-c"
    for libraries, want in (
        (good, None),
        (good + " libbaton_engine.a", "has engine"),
        (good + " -lzmq", "has zmq"),
        (good + " /usr/lib/libevent_core-2.1.so", "has event"),
    ):
        with tempfile.TemporaryDirectory() as folder:
            tree(folder, {"build/build.ninja": NINJA.format(cluster=libraries)})
            code, text = lint(folder, "--links", os.path.join(folder, "build"))
            if want:
                assert code == 1 and text == f"tests/cluster_cluster_test: its link line {want}\n", text
            else:
                assert (code, text) == (0, "layers: clean\n"), text
    print("layers.py --links finds engine, zmq and libevent")


if __name__ == "__main__":
    includes()
    links()
