"""How language models word an answer: a script of the fake OpenAI server for each, by name."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from harness.fakes.fake_openai import Reply, Script, solve
from harness.scoring.marked import ANSWER_LABEL

# In the place of @ stands the right answer.
READ: Final[Mapping[str, str]] = {
    "label": "Let me see.\nAnswer: @",
    "final": "**Final Answer**: @.",
    "full_width": "Answer\uff1a@",
    "next_line": "**Answer:**\n\n@\n\nIt stands behind its key.",
    "boxed": "Answer: $\\boxed{\\text{@}}$",
    "formula": "Final Answer:\n\\[\n\\boxed{@}\n\\]",
    "end_of_turn": "Answer: @<|im_end|>\n",
    "thinks": "<think>\nAnswer: xxx\n</think>\n\nAnswer: @",
    "thinks_from_the_prompt": "Answer: xxx?\n</think>\n\nAnswer: @<|eot_id|>",
}
# The right answer is there, and the instruction was not followed.
READ_LENIENTLY: Final[Mapping[str, str]] = {
    "sentence": "The value is **@**.",
    "boxed_alone": "So we have it: $\\boxed{@}$",
    "label_within": "So the answer: @",
}
NOT_READ: Final[Mapping[str, str]] = {
    "thinks_on": "<think>\nI see it.\nAnswer: @",
    "says_it_in_passing": "It could be @.\nI cannot tell.",
    "says_another": "@\nAnswer: xxx",
}


def answers_as(wording: str) -> Script:
    """Solves assoc_recall, and words its answers so."""

    def script(request: dict[str, Any], number: int) -> Reply:
        reply = solve(request, number)
        text = "".join(filter(None, reply.texts))
        _, label, answer = text.rpartition(ANSWER_LABEL)
        if not label:
            return reply
        return replace(reply, texts=(wording.replace("@", answer.strip(" *")),))

    return script
