"""inspect_ai asks our endpoints over the OpenAI API: `python -m benchmarks.inspect_face`.

Installs inspect_ai into an environment of its own (`--environment`), serves the endpoints, and runs
benchmarks/inspect_child.py against each.
"""

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Final

from benchmarks.environments import whole_environment
from benchmarks.face import COT, ROOT, SEARCH, prompts, served, write_lines

_PACKAGES: Final = ("inspect-ai==0.3.285", "openai")
_TASK: Final = Path(__file__).with_name("inspect_child.py")


def main() -> None:
    """Prints a line an endpoint and scorer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment", type=Path, default=ROOT / "build" / "inspect")
    parser.add_argument("--endpoint", default="rnn,rnn-rag,transformer")
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--samples", type=int, default=100)
    options = parser.parse_args()
    folder = ROOT / "build" / "inspect-face"
    python = whole_environment(options.environment, _PACKAGES, with_torch=False)
    names = options.endpoint.split(",")
    with served(names, folder) as face:
        for name in names:
            file = folder / f"{name}.jsonl"
            way = SEARCH if name.endswith("-rag") else COT
            write_lines(file, prompts(options.size, options.samples, way))
            for scorer, accuracy in _evaluate(python, face.base_url, name, file).items():
                print(f"{name:<12} {scorer:<10} {accuracy:.3f}", flush=True)


def _evaluate(python: Path, base_url: str, name: str, file: Path) -> dict[str, float]:
    """The accuracy by scorer."""
    logs = file.with_suffix("")
    environment = {
        **os.environ,
        # What inspect_ai calls a provider: its address and key, which the face does not ask for.
        "FACE_BASE_URL": base_url,
        "FACE_API_KEY": "none",
        "INSPECT_LOG_FORMAT": "json",
    }
    command = [str(python), "-m", "inspect_ai", "eval", _TASK.name, "--display", "none"]
    command += ["--model", f"openai-api/face/{name}", "-T", f"prompts={file}"]
    command += ["--log-dir", str(logs)]
    for old in logs.glob("*.json"):
        old.unlink()
    subprocess.run(command, cwd=_TASK.parent, env=environment, check=True)
    [log] = logs.glob("*.json")
    read = json.loads(log.read_text())
    if read["status"] != "success":
        raise SystemExit(f"inspect_ai did not finish: see {log}")
    return {
        score["name"]: score["metrics"]["accuracy"]["value"] for score in read["results"]["scores"]
    }


if __name__ == "__main__":
    main()
