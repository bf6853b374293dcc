"""Our transformer through our gRPC and through vLLM's own gRPC server: are the tokens the same?

Each is asked the same prompts with `harness eval`, greedily. Compared are the ids of every prompt,
every word of every completion (a word of this checkpoint is a token), and every search:
`python -m benchmarks.engine_parity`. Needs vLLM and the extra `engine-grpc`; vLLM's server comes
with `smg-grpc-servicer`, into an environment that borrows this one's packages.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from benchmarks.endpoint_parity import CHECKPOINT, GRIDS, ask, compare, completions
from benchmarks.environments import borrowing_environment
from benchmarks.outside import vllm_grpc

_PACKAGES: Final = ("smg-grpc-proto==0.4.28", "smg-grpc-servicer==0.14.1")
_OURS: Final = "ours"
_THEIRS: Final = "vllm-grpc"
_CONTEXT: Final = 1024
_SEQUENCES: Final = 16


def endpoints_file(address: str) -> str:
    """The text of an endpoints.toml with both."""
    folder = CHECKPOINT.resolve()
    return (
        f'[{_OURS}]\ncheckpoint = "{folder}"\nretrieval = true\n'
        "start_timeout_s = 600\n\n"
        f'[{_THEIRS}]\naddress = "{address}"\nprotocol = "vllm"\ntokenizer = "{folder}"\n'
        'style = "symbolic"\nretrieval = true\n'
    )


def prompt_ids(run: Path) -> dict[str, dict[str, list[int]]]:
    """By endpoint, and cell with address: the ids that the model was given."""
    found: dict[str, dict[str, list[int]]] = {}
    for line in (run / "samples.jsonl").read_text().splitlines():
        record = json.loads(line)
        endpoint, _, cell = record["cell"].partition("/")
        key = f"{cell} {record['address']}"
        found.setdefault(endpoint, {})[key] = record["prompt_token_ids"]
    return found


def main() -> None:
    """Prints two lines a grid; exits with 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=50, help="of each cell")
    parser.add_argument("--folder", type=Path, default=Path("build/engine-parity"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    python = borrowing_environment(options.folder / "environment", _PACKAGES)
    log = options.folder / "vllm.log"
    sizes = {"context": _CONTEXT, "sequences": _SEQUENCES}
    with vllm_grpc(python, CHECKPOINT, "transformer", **sizes, log=log) as address:
        file = options.folder / "endpoints.toml"
        file.write_text(endpoints_file(address))
        runs = [
            (grid, ask(file, (_OURS, _THEIRS), grid, options.samples, options.folder))
            for grid in GRIDS
        ]
    all_same = True
    for grid, run in runs:
        ids = prompt_ids(run)
        num_same = sum(ids[_THEIRS].get(key) == given for key, given in ids[_OURS].items())
        print(f"{_THEIRS:10} {grid.prompting:7} {num_same} of {len(ids[_OURS])} prompts, by ids")
        found = completions(run)
        all_same &= num_same == len(ids[_OURS])
        all_same &= compare(grid, found[_OURS], found[_THEIRS], _THEIRS)
    sys.exit(not all_same)


if __name__ == "__main__":
    main()
