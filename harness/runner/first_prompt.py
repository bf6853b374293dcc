"""Lets a server read the first prompt of a cell, before anything is asked of it."""

from dataclasses import replace

from harness.clients.faults import AttemptError, FilteredError, RefusedError
from harness.errors import InputError, UnreachableError
from harness.runner.cell_run import CellRun, Listener
from harness.sample import Sample, Split
from harness.tasks import natural, symbolic
from harness.way import Style


async def check_prompt(run: CellRun, listener: Listener) -> None:
    """Lets the server read the first prompt, so that a cell of bad ones is never begun.

    Raises InputError for a word outside its vocabulary and for a prompt over its length (or one
    that the server cuts without a word), UnreachableError where there is no answer.
    """
    sample = run.task.sample(Split.TEST, run.seed, run.first_index)
    prompt = run.prompt(sample)
    cell, model = run.cell, run.connection.model
    # Of a context one token has to be left for the answer.
    room = model.context_limit - 1 if model.context_limit else 0
    longest = min(filter(None, (model.max_prompt_tokens, room)), default=0)
    try:
        num_tokens = await run.connection.count_tokens(prompt, deadline_s=run.deadline_s)
        if cell.filler and run.connection.endpoint.is_ours:
            await _check_filler(run, sample, num_tokens)
    except RefusedError as error:
        raise InputError(f"{cell.key}: the server refuses the prompt: {error.detail}") from None
    except FilteredError:
        return  # Of this prompt; the others may pass.
    except AttemptError as error:
        raise UnreachableError(f"{cell.key}: no answer to the first prompt: {error}") from None
    if not num_tokens:
        listener.say(
            f"endpoint '{cell.endpoint}' counts no tokens: tokens/s are an estimate, "
            "one token for each piece of text that comes",
            is_warning=True,
        )
    num_words = prompt.least_words
    # No tokenizer in use takes several words for one token.
    if 0 < num_tokens < num_words:
        raise InputError(
            f"{cell.key}: the server counts {num_tokens} tokens in a prompt of {num_words} words: "
            "it cuts prompts; raise the context length that it is run with"
        )
    if longest and num_tokens > longest:
        raise InputError(
            f"{cell.task_label} at size {cell.size}: a prompt has {num_tokens} tokens, "
            f"endpoint '{cell.endpoint}' takes {longest}"
        )


async def _check_filler(run: CellRun, sample: Sample, num_tokens: int) -> None:
    """Raises InputError where the server's tokenizer writes filler in more or fewer tokens."""
    cell = run.cell
    bare = run.prompt_of(sample, replace(cell.way, filler=0))
    num_bare = await run.connection.count_tokens(bare, deadline_s=run.deadline_s)
    num_problems = 1 + len(run.examples)
    # In language it stands on a line of its own.
    num_breaks = 2 if cell.style is Style.NATURAL else 0
    asked = range(cell.filler * num_problems, (cell.filler + num_breaks) * num_problems + 1)
    if (num_filler := num_tokens - num_bare) not in asked:
        word = natural.FILLER if cell.style is Style.NATURAL else symbolic.FILLER
        raise InputError(
            f"{cell.key}: filler {cell.filler}: the server's tokenizer does not write {word!r} as "
            f"one token: {num_problems * cell.filler} of them are {num_filler} tokens"
        )
