"""Renders the kustomizations of deploy/k8s where no kubectl is: resources, configMapGenerator of files,
strategic merge patches and image tags. Anything else in a kustomization is an error. k8s_test.py holds the
result against `kubectl kustomize` where there is one."""

import os

import yaml

# The key by which a list of objects is merged; other lists are replaced.
MERGE_BY = {"containers": "name", "volumes": "name", "volumeMounts": "mountPath", "ports": "containerPort"}


def documents(path):
    with open(path, encoding="utf-8") as f:
        return [d for d in yaml.safe_load_all(f) if d is not None]


def merged(base, over, name=""):
    if isinstance(base, dict) and isinstance(over, dict):
        return {
            k: merged(base[k], over[k], k) if k in base and k in over else over.get(k, base.get(k))
            for k in [*base, *(k for k in over if k not in base)]
        }
    if isinstance(base, list) and name in MERGE_BY:
        key = MERGE_BY[name]
        rest = {item[key]: item for item in over}
        out = [merged(item, rest.pop(item[key], {})) for item in base]
        return list(rest.values()) + out
    return over


def identity(d):
    return d["apiVersion"], d["kind"], d["metadata"]["name"]


def containers_of(d):
    return d.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])


def render(folder):
    """All objects of a kustomization. A generated ConfigMap keeps its name, without the hash."""
    (k,) = documents(os.path.join(folder, "kustomization.yaml"))
    out = []
    for resource in k.pop("resources"):
        path = os.path.join(folder, resource)
        out += render(path) if os.path.isdir(path) else documents(path)
    for generator in k.pop("configMapGenerator", []):
        data = {}
        for name in generator["files"]:
            with open(os.path.join(folder, name), encoding="utf-8") as f:
                data[name] = f.read()
        assert set(generator) == {"name", "files"}, generator
        out.append(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data}
        )
    for patch in k.pop("patches", []):
        assert set(patch) == {"path"}, patch
        for over in documents(os.path.join(folder, patch["path"])):
            (i,) = [i for i, d in enumerate(out) if identity(d) == identity(over)]
            out[i] = merged(out[i], over)
    for image in k.pop("images", []):
        assert set(image) == {"name", "newTag"}, image
        for c in (c for d in out for c in containers_of(d)):
            if c["image"].split(":")[0] == image["name"]:
                c["image"] = image["name"] + ":" + image["newTag"]
    rest = set(k) - {"apiVersion", "kind"}
    assert not rest, "kustomize.py does not know: %s" % rest
    return out
