"""assoc_recall as an inspect_ai task, in its own environment; `prompts` is a file of JSON lines.

inspect eval inspect_child.py --model openai-api/face/rnn-rag -T prompts=FILE
"""

from inspect_ai import Task, task
from inspect_ai.dataset import FieldSpec, json_dataset
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import includes, pattern
from inspect_ai.solver import generate


@task  # type: ignore[untyped-decorator]  # not installed beside us
def assoc_recall(prompts: str) -> Task:
    """The content of a reply is the answer with its mark; what precedes it is its reasoning."""
    return Task(
        dataset=json_dataset(prompts, FieldSpec(input="prompt", target="target")),
        solver=generate(),
        # Whether the answer is there at all, and whether it is the answer, whole.
        scorer=[includes(), pattern(r"<answer> (\S+)")],
        config=GenerateConfig(temperature=0, max_tokens=256, seed=0),
    )
