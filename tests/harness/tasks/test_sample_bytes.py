"""Samples never change: a stored address, a trained checkpoint and a published figure rest on them.

`sample_bytes.json` holds a digest of prompt, target and worked completion of every task, in every
way, at three sizes, in both splits. It was written when the samples were first published. Where
this test fails the code is wrong, not the file; a new task adds lines:

    python -m tests.harness.tasks.test_sample_bytes
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from harness.sample import Prompting, Sample, Segment, Split, Style
from harness.tasks import TASKS, make_task
from harness.tasks.natural import _worked, worked_examples
from harness.tasks.prompts import make_prompt
from harness.tasks.task import Task
from harness_retrieval.types import Mode

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


def ways(task: Task) -> Iterator[tuple[Prompting, Mode | None]]:
    for prompting in task.promptings:
        modes = task.retrieval_modes if prompting is Prompting.SEARCH else (None,)
        for mode in modes:
            yield prompting, mode


def joined(segments: tuple[Segment, ...]) -> list[tuple[str, bool]]:
    """What a model writes in one go is one piece, whatever the pieces are made of."""
    pieces: list[tuple[str, bool]] = []
    for segment in segments:
        if pieces and pieces[-1][1] == segment.inserted:
            pieces[-1] = (f"{pieces[-1][0]} {segment.text}", segment.inserted)
        else:
            pieces.append((segment.text, segment.inserted))
    return pieces


def described(task: Task, sample: Sample, prompting: Prompting, style: Style, mode: Mode | None):
    examples = worked_examples(task, SEED, NUM_EXAMPLES)
    prompt = make_prompt(task, sample, prompting, style, mode, examples=examples)
    worked = task.demonstration(sample, prompting, mode)
    completion = _worked(worked) if style is Style.NATURAL else joined(worked)
    return [
        sample.address.key,
        [prompt.text, prompt.searched, prompt.joint, prompt.result_start, prompt.result_end],
        list(prompt.stops),
        sample.target,
        completion,
        task.max_completion_tokens(prompting, mode),
    ]


def digests() -> dict[str, str]:
    found = {}
    for task in tasks():
        for split in Split:
            samples = [task.sample(split, SEED, index) for index in range(NUM_SAMPLES)]
            of_task = samples[0].address.key.rpartition("/")[0]
            for prompting, mode in ways(task):
                for style in Style:
                    key = f"{of_task}/{prompting}/{mode or 'none'}/{style}"
                    values = [described(task, s, prompting, style, mode) for s in samples]
                    text = json.dumps(values, ensure_ascii=False)
                    found[key] = hashlib.sha256(text.encode()).hexdigest()[:16]
            of_siblings = [[s.question, s.target, s.metadata] for s in task.siblings(samples[0])]
            text = json.dumps(of_siblings, ensure_ascii=False)
            found[f"{of_task}/siblings"] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return found


def test_samples_are_what_they_were() -> None:
    stored, now = json.loads(FILE.read_text()), digests()
    assert {key for key in stored if stored[key] != now.get(key)} == set()
    assert now.keys() == stored.keys(), "a new task: add its lines, see above"


if __name__ == "__main__":
    FILE.write_text(json.dumps(digests(), indent=1) + "\n")
