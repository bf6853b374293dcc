"""deploy/kubernetes as values: what its manifests say is what the servers' own commands take."""

from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from harnessapi.rpc.targets import parse_target

from harness.endpoints.config import load_endpoints
from harness_retrieval.command import retrieval_command
from harness_servers.command import model_command

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
NAMES = ("retrieval", "rnn", "ssm", "hybrid")
MODELS = NAMES[1:]


def manifests(name: str) -> dict[str, Any]:
    found = yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text())
    return {one["kind"]: one for one in found}


def pod(name: str) -> dict[str, Any]:
    found: dict[str, Any] = manifests(name)["Deployment"]["spec"]["template"]["spec"]
    return found


def container(name: str) -> dict[str, Any]:
    [found] = pod(name)["containers"]
    return found


@pytest.fixture
def options(root: Path, tmp_path: Path) -> Any:
    """The arguments of a container as its command reads them."""

    def read(name: str) -> dict[str, Any]:
        command = retrieval_command if name == "retrieval" else model_command
        here = [
            str(root / word[1:]) if word.startswith("/checkpoints/") else word
            for word in container(name)["args"]
        ]
        return command.make_context(name, here).params

    return read


@pytest.mark.parametrize("name", NAMES)
def test_a_server_listens_where_its_ports_probes_and_service_say(options: Any, name: str) -> None:
    told, found = options(name), container(name)
    ports = {port["name"]: port["containerPort"] for port in found["ports"]}
    assert ports == {
        "grpc": parse_target(told["listen"]).port,
        "health": told["health_port"],
        "metrics": told["metrics_port"],
    }
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert found[probe]["grpc"] == {"port": told["health_port"]}
    assert told["ops_host"] == "0.0.0.0"
    annotations = manifests(name)["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(told["metrics_port"])
    [port] = manifests(name)["Service"]["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (ports["grpc"], "grpc")
    assert told["log_format"] == "json"


@pytest.mark.parametrize("name", NAMES)
def test_a_server_has_tls_and_tokens_from_secrets_that_not_everybody_can_read(
    options: Any, name: str
) -> None:
    told, volumes = options(name), {one["name"]: one for one in pod(name)["volumes"]}
    assert not told["insecure"]
    mounts = {one["mountPath"]: one for one in container(name)["volumeMounts"]}
    files = ["tls_cert", "tls_key", "token_file"]
    files += ["retrieval_ca", "retrieval_token_file"] if name != "retrieval" else []
    for file in files:
        mount = mounts[str(told[file].path.parent)]
        assert mount["readOnly"]
        secret = volumes[mount["name"]]["secret"]
        assert secret["defaultMode"] == 0o440
    assert pod(name)["securityContext"]["fsGroup"] == 10001
    assert volumes["tls"]["secret"]["secretName"] == f"{name}-tls"


@pytest.mark.parametrize("name", MODELS)
def test_a_model_server_dials_the_search_service_by_its_name_with_its_token(
    options: Any, name: str
) -> None:
    told = options(name)
    target = parse_target(told["retrieval"])
    assert target.host == manifests("retrieval")["Service"]["metadata"]["name"]
    assert target.port == manifests("retrieval")["Service"]["spec"]["ports"][0]["port"]
    shown = {one["name"]: one for one in pod(name)["volumes"]}["search-tokens"]["secret"]
    [asked] = [one for one in pod("retrieval")["volumes"] if one["name"] == "tokens"]
    assert shown["secretName"] == asked["secret"]["secretName"]
    assert Path(container(name)["args"][0]).name == name


@pytest.mark.parametrize("name", NAMES)
def test_a_container_can_do_no_more_than_it_has_to(stages: Any, name: str) -> None:
    found = container(name)
    target = "retrieval" if name == "retrieval" else "server"
    assert found["image"] == f"recall-harness/{target}"
    user, group = stages[target].last("USER").split(":")
    context = pod(name)["securityContext"]
    assert (str(context["runAsUser"]), str(context["runAsGroup"])) == (user, group)
    assert context["runAsNonRoot"]
    assert found["securityContext"]["readOnlyRootFilesystem"]
    assert not found["securityContext"]["allowPrivilegeEscalation"]
    assert found["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert set(found["resources"]["requests"]) == {"cpu", "memory"}
    assert "memory" in found["resources"]["limits"]
    assert not pod(name)["automountServiceAccountToken"]


@pytest.mark.parametrize("name", NAMES)
def test_labels_select_what_they_are_meant_to(name: str) -> None:
    deployment, service = manifests(name)["Deployment"], manifests(name)["Service"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert service["spec"]["selector"].items() <= labels.items()
    assert deployment["metadata"]["name"] == service["metadata"]["name"] == name
    volumes = {one["name"] for one in pod(name)["volumes"]}
    assert {one["name"] for one in container(name)["volumeMounts"]} == volumes


def test_the_kustomization_has_every_manifest_and_every_image() -> None:
    found = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert found["resources"] == [f"{name}.yaml" for name in NAMES]
    assert {f"{name}.yaml" for name in NAMES} | {"kustomization.yaml"} == {
        path.name for path in FOLDER.glob("*.yaml")
    }
    assert {one["name"] for one in found["images"]} == {container(name)["image"] for name in NAMES}


def test_the_endpoints_are_the_services_with_a_ca_and_a_token(tmp_path: Path) -> None:
    endpoints = load_endpoints(FOLDER / "endpoints.toml", tmp_path).endpoints
    assert [one.name for one in endpoints] == [n + s for n in MODELS for s in ("", "-rag")]
    for one in endpoints:
        target = parse_target(one.address or "")
        service = manifests(one.name.removesuffix("-rag"))["Service"]
        assert target.host == service["metadata"]["name"]
        assert target.port == service["spec"]["ports"][0]["port"]
        assert one.dialled.tls
        assert one.token_env == "HARNESS_TOKEN"


def test_a_word_that_a_command_does_not_know_would_be_found() -> None:
    with pytest.raises(click.UsageError):
        retrieval_command.make_context("retrieval", ["--no-such=1"])
    assert CliRunner().invoke(retrieval_command, ["--help"]).exit_code == 0
