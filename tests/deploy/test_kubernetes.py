"""The manifests: valid by Kubernetes' own schemas, and in step with the server's settings, its routes and the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml

from server.config import Settings, parse_settings
from tests.deploy.facts import DEPLOY, image_facts

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = ("1.34", "1.37")  # the oldest that is still supported, and the newest
MANIFESTS = sorted(DEPLOY.glob("kubernetes/*.yaml"))
KINDS = ("Deployment", "Service", "PodDisruptionBudget", "PersistentVolumeClaim")


def documents(manifest: Path) -> list[dict[str, Any]]:
    """The manifest's objects."""
    return list(yaml.safe_load_all(manifest.read_text()))


def only(manifest: Path, kind: str) -> dict[str, Any]:
    """The manifest's only object of that kind."""
    (found,) = (document for document in documents(manifest) if document["kind"] == kind)
    return found


def pod_of(manifest: Path) -> dict[str, Any]:
    """The pod that the manifest's deployment makes."""
    pod: dict[str, Any] = only(manifest, "Deployment")["spec"]["template"]["spec"]
    return pod


def container_of(manifest: Path) -> dict[str, Any]:
    """The pod's only container."""
    (container,) = pod_of(manifest)["containers"]
    return container  # type: ignore[no-any-return]


def test_the_manifests_are_those_that_the_docs_name() -> None:
    assert [manifest.name for manifest in MANIFESTS] == ["model.yaml", "smartreply.yaml"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_every_object_is_valid_by_the_published_schema(manifest: Path, version: str) -> None:
    for document in documents(manifest):
        assert kubernetes_validate.validate(document, version, strict=True) == version
        assert document["kind"] in KINDS


def test_the_checker_refuses_a_word_that_kubernetes_does_not_know() -> None:
    deployment = only(MANIFESTS[0], "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)


def test_the_names_and_the_port_of_the_first_smartreply() -> None:
    manifest = DEPLOY / "kubernetes" / "smartreply.yaml"
    deployment, service = only(manifest, "Deployment"), only(manifest, "Service")
    assert deployment["metadata"]["name"] == "smartreply-deployment"
    assert deployment["spec"]["replicas"] == 4
    assert service["metadata"]["name"] == "smartreply-connector"
    assert service["spec"]["type"] == "LoadBalancer"
    assert [(port["port"], port["targetPort"]) for port in service["spec"]["ports"]] == [(5000, "http")]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_labels_agree(manifest: Path) -> None:
    deployment = only(manifest, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert only(manifest, "Service")["spec"]["selector"] == labels
    assert only(manifest, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_ports_are_those_that_the_server_opens(manifest: Path) -> None:
    opened = {"http": Settings.model_fields["rest_port"].default, "thrift": Settings.model_fields["port"].default}
    container = {port["name"]: port["containerPort"] for port in container_of(manifest)["ports"]}
    assert container.items() <= opened.items()
    assert [port["targetPort"] for port in only(manifest, "Service")["spec"]["ports"]] == list(container)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container_of(manifest)[probe]["httpGet"]["port"] == "http"


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_the_command_line_and_the_environment_are_the_servers(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    container = container_of(manifest)
    names = {f"PREDICTOR_{name.upper()}" for name in Settings.model_fields}
    for variable in container["env"]:
        assert variable["name"] in names
        monkeypatch.setenv(variable["name"], variable["value"])
    assert parse_settings(container["args"]).model == tuple(container["args"])
    assert pod_of(manifest)["enableServiceLinks"] is False  # PREDICTOR_PORT=tcp://... would be a setting


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_draining_ends_before_kubernetes_kills(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    container = container_of(manifest)
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    drain_s = parse_settings(container["args"]).drain_timeout_ms / 1000
    pause_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod_of(manifest)["terminationGracePeriodSeconds"] >= pause_s + drain_s + 5


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_nothing_is_root_and_nothing_is_written_but_below_tmp(manifest: Path) -> None:
    pod, container = pod_of(manifest), container_of(manifest)
    user, group = image_facts().user.split(":")
    assert pod["securityContext"] | {"runAsNonRoot": True} == pod["securityContext"]
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]) == (int(user), int(group))
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["/tmp"]
    assert {"requests", "limits"} == container["resources"].keys()


def test_smart_reply_is_a_model_that_the_image_brings() -> None:
    (model,) = container_of(DEPLOY / "kubernetes" / "smartreply.yaml")["args"]
    assert model in image_facts().models
