"""One run asked on our server and on vLLM's: how many samples are the same, and in what."""

import json
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from harness.clients.conversation import conversation
from harness.endpoints.external import Api
from harness.runs.cell import Cell
from harness.runs.manifest import Manifest, read_manifest
from harness.sample import Address, Prompt
from harness.tasks import make_task
from harness.tasks.natural import worked_examples
from harness.tasks.prompts import make_prompt

_PARTS: Final = ("ids", "text", "searches", "answer")


def compare(run: Path, address: str, name: str, form: str) -> bool:
    """Prints a line a task, and the first sample that differs; whether none does."""
    manifest = read_manifest(run)
    records = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    ours: dict[Any, Any] = {}
    theirs: dict[Any, Any] = {}
    for cell in manifest.cells:
        found = ours if cell.endpoint.endswith("-grpc") else theirs
        for record in records:
            if record["cell"] == cell.key:
                key = (cell.task, cell.size, cell.way.key, record["address"])
                ids = record["prompt_token_ids"]
                if found is theirs:
                    prompt = prompt_of(manifest, cell, record["address"])
                    ids = vllm_ids(address, name, prompt, Api(form))
                found[key] = {"ids": ids, **reply(record)}
    all_same = True
    for task in dict.fromkeys(key[0] for key in ours):
        keys = [key for key in ours if key[0] == task]
        all_same &= _compare_task(f"{name} {form} {task}", keys, ours, theirs)
    return all_same and ours.keys() == theirs.keys() and bool(ours)


def _compare_task(
    head: str, keys: Iterable[Any], ours: dict[Any, Any], theirs: dict[Any, Any]
) -> bool:
    pairs = [(key, ours[key], theirs[key]) for key in keys if key in theirs]
    different = {
        part: [pair for pair in pairs if pair[1][part] != pair[2][part]] for part in _PARTS
    }
    counts = (
        f"{part} {len(pairs) - len(pairs_)} of {len(pairs)}" for part, pairs_ in different.items()
    )
    print(f"{head} size {pairs[0][0][1]}: the same {', '.join(counts)}", flush=True)
    for part, pairs_ in different.items():
        for key, one, other in pairs_[:1]:
            print(f"  {part} of {key}\n    ours   {one[part]!r}\n    theirs {other[part]!r}")
    return not any(different.values())


def reply(record: dict[str, Any]) -> dict[str, Any]:
    """What is compared of a stored sample."""
    return {
        "text": "".join(text for _, text in record["transcript"]),
        "searches": [[step["query"], step["inserted_text"]] for step in record["searches"]],
        "answer": record["answer"],
    }


def prompt_of(manifest: Manifest, cell: Cell, address: str) -> Prompt:
    """The prompt that a sample of this run was asked with."""
    task = make_task(cell.task, size=cell.size, **cell.parameters)
    asked = Address.from_key(address)
    sample = task.sample(asked.split, asked.seed, asked.index)
    examples = worked_examples(task, manifest.options.seed, manifest.options.examples)
    return make_prompt(task, sample, cell.way, examples=examples)


def vllm_ids(address: str, name: str, prompt: Prompt, form: Api) -> list[int]:
    """The token ids that vLLM reads this prompt as."""
    asked: dict[str, Any] = {"prompt": prompt.text}
    if form.is_chat:
        messages = conversation(prompt, form, None, results_are_messages=True)
        asked = {"messages": [message._asdict() for message in messages]}
    request = urllib.request.Request(
        f"{address.removesuffix('/v1')}/tokenize",
        data=json.dumps({"model": name, **asked}).encode(),
        headers={"Content-Type": "application/json"},
    )
    # No proxy stands between two processes of one machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        ids: list[int] = json.load(answer)["tokens"]
    return ids
