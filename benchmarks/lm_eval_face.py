"""lm-evaluation-harness asks our endpoints: `python -m benchmarks.lm_eval_face`.

Installs lm-eval into an environment of its own (`--environment`), serves the endpoints, runs two
tasks of ours (benchmarks/lm_eval_tasks) and holds lm-eval's log-likelihoods to Score of the wire.
"""

import argparse
import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

from harnessapi.rpc.targets import parse_target

from benchmarks.environments import whole_environment
from benchmarks.face import (
    COT,
    DIRECT,
    ROOT,
    SEARCH,
    Served,
    choices,
    prompts,
    served,
    write_lines,
)
from harness.clients.grpc_client import Client
from harness.endpoints.config import load_endpoints
from harness.way import Way

_PACKAGES: Final = ("lm-eval[api,hf]==0.4.13",)
_OFFLINE: Final = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "LOGLEVEL": "ERROR"}
_CHILD: Final = Path(__file__).with_name("lm_eval_child.py")
_TASKS: Final = Path(__file__).with_name("lm_eval_tasks")
# Of an endpoint: its checkpoint, how its prompts ask, and what stands before its choices.
_ENDPOINTS: Final[dict[str, tuple[str, Way, Way]]] = {
    "rnn": ("rnn", COT, DIRECT),
    "rnn-rag": ("rnn", SEARCH, SEARCH),
    "ssm": ("ssm", COT, DIRECT),
    "hybrid": ("hybrid", COT, DIRECT),
    "transformer": ("transformer", COT, DIRECT),
}
# Of the log-likelihoods that are compared.
_NUM_PAIRS: Final = 40


def main() -> None:
    """Prints a line a task, and a line a comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment", type=Path, default=ROOT / "build" / "lm-eval")
    parser.add_argument("--endpoint", default="rnn,rnn-rag,transformer")
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--samples", type=int, default=100)
    options = parser.parse_args()
    folder = ROOT / "build" / "lm-eval-face"
    python = whole_environment(options.environment, _PACKAGES)
    names = options.endpoint.split(",")
    with served(names, folder) as face:
        for name in names:
            for task, accuracy in _evaluate(python, face, name, options, folder / name).items():
                print(f"{name:<12} {task:<24} {accuracy:.3f}", flush=True)
        for name in names:
            print(_compare(python, face, name, options.size, folder / name), flush=True)


def _evaluate(
    python: Path, face: Served, name: str, options: argparse.Namespace, folder: Path
) -> dict[str, float]:
    """Both tasks of one endpoint, as the command line of lm-eval runs them."""
    checkpoint, way, choosing = _ENDPOINTS[name]
    folder.mkdir(parents=True, exist_ok=True)
    write_lines(folder / "generate.jsonl", prompts(options.size, options.samples, way))
    write_lines(folder / "choice.jsonl", choices(options.size, options.samples, choosing))
    model = {
        "model": name,
        "base_url": f"{face.base_url}/completions",
        "tokenizer": ROOT / "checkpoints" / checkpoint,
        "tokenizer_backend": "huggingface",
        "tokenized_requests": "True",
        "num_concurrent": 4,
    }
    command = [str(python), "-m", "lm_eval", "--model", "local-completions", "--model_args"]
    command += [",".join(f"{key}={value}" for key, value in model.items())]
    command += ["--include_path", str(_TASKS), "--tasks"]
    command += ["assoc_recall_generate,assoc_recall_choice", "--output_path", "results.json"]
    for old in folder.glob("results*.json"):
        old.unlink()
    with (folder / "lm_eval.log").open("w") as log:
        environment = {**os.environ, **_OFFLINE}
        subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=log, check=True)
    [file] = folder.glob("results*.json")
    results = json.loads(file.read_text())["results"]
    return {
        "assoc_recall_generate": results["assoc_recall_generate"]["exact_match,answer"],
        "assoc_recall_choice": results["assoc_recall_choice"]["acc,none"],
    }


def _compare(python: Path, face: Served, name: str, size: int, folder: Path) -> str:
    """How far lm-eval's sums are from those of Score, at most."""
    checkpoint, _, choosing = _ENDPOINTS[name]
    rows = choices(size, _NUM_PAIRS, choosing)
    pairs = [(row["context"], f" {row['choices'][row['gold']]}") for row in rows]
    (folder / "pairs.json").write_text(json.dumps(pairs))
    place = ROOT / "checkpoints" / checkpoint
    command = [str(python), str(_CHILD), face.base_url, name, str(place)]
    command += [str(folder / "pairs.json")]
    if name == "transformer":
        command.append(str(_with_end_of_text(place, folder / "checkpoint")))
    with (folder / "child.log").open("w") as log:
        output = subprocess.run(
            command, env={**os.environ, **_OFFLINE}, stdout=subprocess.PIPE, stderr=log, check=True
        ).stdout
    found: dict[str, list[Any]] = json.loads(output.splitlines()[-1])
    ours = asyncio.run(_scores(face.endpoints, name, pairs))
    parts = [
        f"{kind} {max(abs(one[0] - own) for one, own in zip(sums, ours, strict=True)):.1e}"
        for kind, sums in found.items()
    ]
    return f"{name:<12} {len(pairs)} log-likelihoods, farthest from Score: {', '.join(parts)}"


async def _scores(endpoints: Path, name: str, pairs: list[tuple[str, str]]) -> list[float]:
    [endpoint] = load_endpoints(endpoints, ROOT).select([name])
    client = Client(parse_target(endpoint.address or ""))
    sums = [(await client.score(*pair, timeout_s=600)).log_prob for pair in pairs]
    await client.close()
    return sums


def _with_end_of_text(checkpoint: Path, folder: Path) -> Path:
    """The checkpoint with a tokenizer_config.json: lm-eval's `hf` asks its tokenizer for an end."""
    folder.mkdir(exist_ok=True)
    for file in checkpoint.iterdir():
        link = folder / file.name
        link.unlink(missing_ok=True)
        link.symlink_to(file)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<eos>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


if __name__ == "__main__":
    main()
