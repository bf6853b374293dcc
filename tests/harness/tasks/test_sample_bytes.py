"""Samples never change: a stored address, a trained checkpoint and a published figure rest on them.

`sample_bytes.json` holds a digest of prompt, target and worked completion of every task, in every
way, at three sizes, in both splits. It was written when the samples were first published. Where
this test fails the code is wrong, not the file; a new task adds lines:

    python -m tests.harness.tasks.test_sample_bytes
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from harness.sample import Sample, Split
from harness.tasks import TASKS, make_task, natural, symbolic
from harness.tasks.natural import worked_examples
from harness.tasks.prompts import make_prompt
from harness.tasks.task import Task
from harness.way import Style, Way

FILE = Path(__file__).parent / "sample_bytes.json"
SEED, NUM_SAMPLES, NUM_EXAMPLES = 17, 3, 3
PARAMETERS = {
    "assoc_recall": {"alphabet": 100},
    "is_tree": {"labels": 200},
    "mqar": {"queries": 3},
    "needle": {"keys": 5, "values": 3},
    "ngram_retrieval": {"order": 2},
    "phonebook": {"queries": 2},
}


def tasks() -> Iterator[Task]:
    for name, kind in TASKS.items():
        sizes = (kind.min_size, 16, 64)
        for size in sizes:
            yield make_task(name, size=size)
        if name in PARAMETERS:
            yield make_task(name, size=16, **PARAMETERS[name])


def described(task: Task, sample: Sample, way: Way) -> list[object]:
    examples = worked_examples(task, SEED, NUM_EXAMPLES)
    prompt = make_prompt(task, sample, way, examples=examples)
    pieces = [(piece.text, piece.inserted) for piece in symbolic.write(sample.steps(way))]
    is_natural = way.style is Style.NATURAL
    return [
        sample.address.key,
        [prompt.text, prompt.searched, prompt.joint, prompt.result_start, prompt.result_end],
        list(prompt.stops),
        sample.target,
        natural.write(sample.steps(way)) if is_natural else pieces,
        task.max_completion_tokens(way),
    ]


def digests() -> dict[str, str]:
    found = {}
    for task in tasks():
        for split in Split:
            samples = [task.sample(split, SEED, index) for index in range(NUM_SAMPLES)]
            of_task = samples[0].address.key.rpartition("/")[0]
            for symbolic_way in task.ways():
                for style in Style:
                    way = replace(symbolic_way, style=style)
                    key = f"{of_task}/{way.key}"
                    values = [described(task, s, way) for s in samples]
                    text = json.dumps(values, ensure_ascii=False)
                    found[key] = hashlib.sha256(text.encode()).hexdigest()[:16]
            of_siblings = [[s.question, s.target, s.metadata] for s in samples[0].siblings()]
            text = json.dumps(of_siblings, ensure_ascii=False)
            found[f"{of_task}/siblings"] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return found


def test_samples_are_what_they_were() -> None:
    stored, now = json.loads(FILE.read_text()), digests()
    assert {key for key in stored if stored[key] != now.get(key)} == set()
    assert now.keys() == stored.keys(), "a new task: add its lines, see above"


if __name__ == "__main__":
    FILE.write_text(json.dumps(digests(), indent=1) + "\n")
