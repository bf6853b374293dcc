"""Our transformer through gRPC, vLLM's OpenAI server and llama.cpp's: are completions the same?

Each server is asked the same prompts with `harness eval`, greedily; what is compared is every word
of every completion, and of every search its query, its outcome and what it inserted:
`python -m benchmarks.endpoint_parity`. Needs vLLM, `gguf`, and pip for `xllamacpp`, which gets an
environment of its own.
"""

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.environments import bare_environment
from benchmarks.gguf_file import write_gguf
from benchmarks.outside import llama_cpp, vllm_openai

CHECKPOINT: Final = Path("checkpoints/transformer")
# All that the transformer is trained on with and without a search; 50 samples of each of 12 cells
# are 600, of 6 cells 300.
DIRECT_TASKS: Final = ("assoc_recall", "index", "ngram_retrieval")
SEARCH_TASKS: Final = ("assoc_recall", "ngram_retrieval", "index")
DIRECT_SIZES: Final = (8, 16, 32, 64)
SEARCH_SIZES: Final = (16, 32)
_CONTEXT: Final = 1024
_SEQUENCES: Final = 16
_REFERENCE: Final = "grpc"


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One grid: its tasks and sizes, and how the answers are asked for."""

    prompting: str
    tasks: tuple[str, ...]
    sizes: tuple[int, ...]


GRIDS: Final = (
    Asked(prompting="direct", tasks=DIRECT_TASKS, sizes=DIRECT_SIZES),
    Asked(prompting="search", tasks=SEARCH_TASKS, sizes=SEARCH_SIZES),
)


def endpoints_file(addresses: dict[str, str], name: str) -> str:
    """The text of an endpoints.toml: our server first."""
    tables = [f'[{_REFERENCE}]\ncheckpoint = "{CHECKPOINT.resolve()}"\nretrieval = true\n']
    tables += [
        f'[{endpoint}]\naddress = "{address}"\nmodel = "{name}"\napi = "completions"\n'
        'style = "symbolic"\nretrieval = true\n'
        for endpoint, address in addresses.items()
    ]
    return "\n".join(tables)


def ask(endpoints: Path, names: Iterable[str], grid: Asked, samples: int, out: Path) -> Path:
    """Runs `harness eval`; the folder of its run."""
    command = [sys.executable, "-m", "harness", "eval", "--quiet", "--endpoints", str(endpoints)]
    command += ["--endpoint", ",".join(names), "--task", ",".join(grid.tasks)]
    command += ["--size", ",".join(map(str, grid.sizes)), "--prompting", grid.prompting]
    command += ["--samples", str(samples), "--concurrency", str(_SEQUENCES), "--out", str(out)]
    before = set(out.glob("*/manifest.json"))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    [manifest] = set(out.glob("*/manifest.json")) - before
    return manifest.parent


def completions(run: Path) -> dict[str, dict[str, Any]]:
    """By endpoint, and cell with address: the words that were written, and the searches."""
    found: dict[str, dict[str, Any]] = {}
    for line in (run / "samples.jsonl").read_text().splitlines():
        record = json.loads(line)
        endpoint, _, cell = record["cell"].partition("/")
        # A server leaves out the space where a piece begins: pieces are joined by one.
        words = " ".join(piece[1] for piece in record["transcript"]).split()
        searches = [
            (step["query"].split(), step["outcome"], step["inserted_text"].split())
            for step in record["searches"]
        ]
        found.setdefault(endpoint, {})[f"{cell} {record['address']}"] = (words, searches)
    return found


def main() -> None:
    """Prints a line a server and grid; exits with 1 where a completion differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=50, help="of each cell")
    parser.add_argument("--folder", type=Path, default=Path("build/endpoint-parity"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    gguf = options.folder / "transformer.gguf"
    write_gguf(CHECKPOINT, gguf)
    python = bare_environment(options.folder / "environment", ["xllamacpp"])
    name = "transformer"
    sizes = {"context": _CONTEXT, "sequences": _SEQUENCES}
    with contextlib.ExitStack() as servers:
        addresses = {
            "llama-cpp": servers.enter_context(
                llama_cpp(python, gguf, name, **sizes, threads=options.threads)
            ),
            "vllm": servers.enter_context(
                vllm_openai(CHECKPOINT, name, **sizes, log=options.folder / "vllm.log")
            ),
        }
        file = options.folder / "endpoints.toml"
        file.write_text(endpoints_file(addresses, name))
        runs = [
            (grid, ask(file, (_REFERENCE, *addresses), grid, options.samples, options.folder))
            for grid in GRIDS
        ]
    all_same = True
    for grid, run in runs:
        found = completions(run)
        for other in addresses:
            all_same &= compare(grid, found[_REFERENCE], found[other], other)
    sys.exit(not all_same)


def compare(grid: Asked, ours: dict[str, Any], theirs: dict[str, Any], other: str) -> bool:
    """Prints how many are the same, and the first that is not."""
    different = [key for key in ours if ours[key] != theirs.get(key)]
    num_same = len(ours) - len(different)
    print(f"{other:10} {grid.prompting:7} {num_same} of {len(ours)} completions as through gRPC")
    for key in different[:1]:
        print(f"  {key}\n  ours   {ours[key]}\n  theirs {theirs.get(key)}")
    return not different


if __name__ == "__main__":
    main()
