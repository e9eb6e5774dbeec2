"""What the scripts of this folder share: a virtual environment with packages of PyPI, made once in .cache,
and a cluster of SmolLM2 to ask."""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT + "/tests/e2e")
from harness import *

# No client may look for anything outside of this machine, or tell anybody that it ran.
ALONE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "DO_NOT_TRACK": "1"}


def venv(name, *packages):
    """The folder of the environment .cache/NAME, which has exactly these packages and what they need."""
    folder = "%s/.cache/%s" % (ROOT, name)
    stamp = folder + "/.baton-" + "+".join(packages)
    if not os.path.exists(stamp):
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [folder + "/bin/pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run(pip + list(packages), check=True)
        open(stamp, "w").close()
    return folder


def within(name, *packages):
    """Goes on in that environment: the script starts again, with its Python."""
    folder = venv(name, *packages)
    if os.path.realpath(sys.prefix) != os.path.realpath(folder):
        os.environ.update(ALONE)
        os.execv(folder + "/bin/python3", [folder + "/bin/python3"] + sys.argv)


def smol(**over):
    """A disaggregated cluster of the real model, whose answers are words."""
    return Cluster(merge(disaggregated(), over), SMOL)


def url(c):
    return "http://127.0.0.1:%d" % c.http_port
