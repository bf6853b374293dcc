"""What the files for containers promise, read from the files: no engine is needed."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness_retrieval.command import retrieval_command
from harness_servers.command import model_command

FILES = ("docker-compose.yml", "docker-compose.gpu.yml")


@pytest.mark.parametrize("name", FILES)
def test_a_file_keeps_to_the_schema_of_the_compose_specification(root: Path, name: str) -> None:
    # The package ships the specification's own schema; nothing is fetched.
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", name]
    done = subprocess.run(
        [sys.executable, *command], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_services_are_those_of_the_fleet(services: Any) -> None:
    assert set(services) == {"rnn", "ssm", "hybrid", "transformer", "retrieval", "harness"}


def test_a_service_is_built_from_a_target_of_the_dockerfile(
    services: Any, stages: Any, service: str
) -> None:
    stage = stages[services[service]["build"]["target"]]
    assert stage.last("ENTRYPOINT")
    arguments = {
        rest.partition("=")[0] for s in stages.values() for w, rest in s.instructions if w == "ARG"
    }
    assert set(services[service]["build"]["args"]) <= arguments


def test_a_service_can_do_no_more_than_it_has_to(services: Any, stages: Any, service: str) -> None:
    found = services[service]
    assert found["user"] == stages[found["build"]["target"]].last("USER") == "10001:10001"
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc"} & set(found)
    [temporary] = found["tmpfs"]
    assert temporary.startswith("/tmp:size=")
    for volume in found.get("volumes", ()):
        source, _, rest = volume.partition(":")
        assert not source.startswith(".") or rest.endswith(":ro")


def test_a_port_is_published_on_loopback_alone_and_once(services: Any) -> None:
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert len(ports) == 5
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


def test_a_server_listens_where_it_is_published_exposed_and_checked(
    services: Any, stages: Any, server: str
) -> None:
    found = services[server]
    listen = found["command"][found["command"].index("--listen") + 1]
    host, _, port = listen.rpartition(":")
    assert host == "0.0.0.0"
    assert [published.split(":")[2] for published in found["ports"]] == [port]
    assert found["healthcheck"]["test"][-1] == f"127.0.0.1:{port}"
    assert stages[found["build"]["target"]].last("EXPOSE") == port


def test_a_server_says_that_its_network_is_trusted_and_its_command_takes_all_it_is_given(
    root: Path, services: Any, server: str
) -> None:
    command = retrieval_command if server == "retrieval" else model_command
    here = [
        word.replace("/checkpoints", f"{root}/checkpoints") for word in services[server]["command"]
    ]
    assert command.make_context(server, here).params["insecure"]


def test_a_service_waits_until_what_it_uses_is_healthy(services: Any) -> None:
    for name in ("rnn", "ssm", "hybrid", "transformer"):
        assert services[name]["depends_on"] == {"retrieval": {"condition": "service_healthy"}}
    models = {"rnn", "ssm", "hybrid", "transformer"}
    assert set(services["harness"]["depends_on"]) == models
    conditions = [d["condition"] for d in services["harness"]["depends_on"].values()]
    assert set(conditions) == {"service_healthy"}


def test_the_harness_is_started_when_asked_for_alone(services: Any) -> None:
    assert [name for name, service in services.items() if "profiles" in service] == ["harness"]


def test_the_harness_knows_every_endpoint_of_the_fleet_and_where_it_listens(
    root: Path, services: Any
) -> None:
    tables = tomllib.loads((root / "deploy" / "endpoints.toml").read_text())
    packaged = tomllib.loads((root / "harness" / "endpoints.toml").read_text())
    # Not the many of a folder of checkpoints: a service each would be too many.
    assert {name for name in packaged if "checkpoint" in packaged[name]} <= tables.keys()
    for name, table in tables.items():
        service = name.removesuffix("-rag")
        listen = services[service]["command"][2]
        assert table["address"] == f"grpc://{service}:{listen.rpartition(':')[2]}"
        assert table.get("retrieval", False) == name.endswith("-rag")


def test_the_gpu_file_changes_services_and_arguments_that_are_there(
    root: Path, services: Any, stages: Any
) -> None:
    changed = yaml.safe_load((root / "docker-compose.gpu.yml").read_text())["services"]
    assert set(changed) <= set(services)
    texts = [
        rest for stage in stages.values() for word, rest in stage.instructions if word == "ARG"
    ]
    for name, change in changed.items():
        assert {text.partition("=")[0] for text in texts} >= set(change["build"]["args"])
        # Its image does not take the place of the other.
        assert change["image"] == f"{services[name]['image']}:gpu"
        [device] = change["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]


def test_every_install_is_bound_to_the_torch_that_was_found(stages: Any) -> None:
    def has(stage: Any, ancestor: str) -> bool:
        return stage.name == ancestor or (
            stage.parent in stages and has(stages[stage.parent], ancestor)
        )

    installs = {
        stage.name: rest
        for stage in stages.values()
        for word, rest in stage.instructions
        if word == "RUN" and "pip install" in rest
    }
    assert len(installs) == 4
    assert all(has(stages[name], "build") for name in installs)
    assert "PIP_CONSTRAINT=/constraints.txt" in stages["build"].last("ENV")
    assert '/install-torch.sh "${TORCH}" /constraints.txt' in stages["build-torch"].last("RUN")
    with_torch = {name for name in installs if has(stages[name], "build-torch")}
    assert with_torch == {"build-server", "build-server-vllm"}


def test_the_torch_of_makefile_dockerfile_and_compose_is_the_cpu_build(root: Path) -> None:
    makefile, dockerfile, compose = (
        (root / name).read_text() for name in ("Makefile", "Dockerfile", "docker-compose.yml")
    )
    asked = "torch==2.13.0+cpu"
    assert f"\nTORCH ?= {asked}\n" in makefile
    assert f"\nARG TORCH={asked}\n" in dockerfile
    assert f"TORCH: ${{TORCH:-{asked}}}" in compose


def test_every_extra_that_is_installed_is_one_of_the_project(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"])
    named = set(re.findall(r"_EXTRA[=:] ?([\w-]+)$", read(root, "Dockerfile", FILES[1]), re.M))
    assert named == {"retrieval", "retrieval-gpu", "vllm", "vllm-cpu"}
    assert named <= extras


def test_no_file_names_the_host_of_a_package_index(root: Path) -> None:
    assert "://" not in read(root, "Dockerfile", *FILES, ".dockerignore")


def test_what_the_dockerfile_copies_is_not_ignored(root: Path, stages: Any) -> None:
    allowed = [
        line[1:] for line in (root / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    copied = [
        source
        for stage in stages.values()
        for word, rest in stage.instructions
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert source.split("/")[0] in allowed
        assert (root / source).exists()


def read(root: Path, *names: str) -> str:
    return "\n".join((root / name).read_text() for name in names)
