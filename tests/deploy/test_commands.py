"""Every service's exact command as a process of this machine, asked by its exact health check."""

import json
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
import transformers
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc

from harness.sample import Split
from harness.tasks import make_task
from harness.tasks.prompts import render
from harness.way import Prompting, Way

ROOT = Path(__file__).parents[2]
ENDPOINTS = tomllib.loads((ROOT / "deploy" / "endpoints.toml").read_text())


@pytest.fixture(scope="module")
def fleet(machine: Any, services: Any) -> Iterator[Any]:
    """All services, healthy; they end when they are told to."""
    servers = [name for name in services if name in machine.ports]
    try:
        for name in sorted(servers, key=lambda name: "depends_on" in services[name]):
            assert machine.check(name) == 1
            machine.start(name)
            if name == "retrieval":
                machine.wait_healthy(name)
        for name in servers:
            machine.wait_healthy(name)
        yield machine
    finally:
        statuses = machine.stop_all()
    assert set(statuses.values()) == {0}, statuses
    assert [machine.check(name) for name in servers] == [1] * len(servers)


def evaluate(fleet: Any, *arguments: str) -> str:
    """What the harness's own service prints, asked about the fleet by its addresses here."""
    texts = [
        f'[{name}]\naddress = "{fleet.here(table["address"].removeprefix("grpc://"), "harness")}"\n'
        f"retrieval = {str(table.get('retrieval', False)).lower()}\n"
        for name, table in ENDPOINTS.items()
    ]
    (fleet.folder / "endpoints.toml").write_text("\n".join(texts))
    done = subprocess.run(
        [*fleet.command("harness"), *arguments],
        cwd=fleet.folder,
        env=fleet.environment("harness"),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_server_started_by_its_command_is_healthy_by_its_check(fleet: Any, server: str) -> None:
    fleet.wait_healthy(server)


def test_the_harness_evaluates_the_fleet_by_its_command(fleet: Any) -> None:
    shown = evaluate(fleet, "--samples", "2")
    assert all(f"\n{name} " in shown for name in ENDPOINTS)


def test_the_transformer_on_vllm_recalls_by_itself_and_by_searching(fleet: Any) -> None:
    command = ("--endpoint", "transformer,transformer-rag", "--size", "16,32,64", "--json")
    rows = [
        json.loads(line)
        for line in evaluate(fleet, *command, "--samples", "100", "--seed", "90210").splitlines()
    ]
    assert [row["size"] for row in rows] == [16, 32, 64] * 2
    assert all(row["accuracy"] >= 0.99 for row in rows)


def test_the_shipped_transformer_on_vllm_writes_what_it_writes_on_transformers(fleet: Any) -> None:
    other = transformers.AutoModelForCausalLM.from_pretrained(ROOT / "checkpoints" / "transformer")
    task = make_task("assoc_recall", size=24)
    with grpc.insecure_channel(f"127.0.0.1:{fleet.ports['transformer']}") as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        for index in range(3):
            sample = task.sample(Split.TEST, 90210, index)
            prompt = render(task, sample, Way(prompting=Prompting.COT))
            request = pb.GenerateRequest(
                text=prompt, stopping=pb.StoppingOptions(max_new_tokens=256, ignore_eos=True)
            )
            events = list(stub.Generate(request))
            written = [token for event in events for token in event.delta.token_ids]
            ids = torch.tensor([list(events[0].started.prompt_token_ids)])
            expected = other.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=256,
                do_sample=False,
                eos_token_id=None,
            )
            assert written == expected[0, ids.shape[1] :].tolist()


def test_a_missing_checkpoint_is_refused_with_its_name(machine: Any, tmp_path: Path) -> None:
    command = [word.replace("/checkpoints/rnn", "/nowhere/rnn") for word in machine.command("rnn")]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=machine.environment("rnn"),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 2
    assert "/nowhere/rnn" in done.stderr
