"""A checkpoint whose state passes through so many bits, with the code that its folder fits."""

from dataclasses import replace
from typing import Final

from harness_servers.checkpoints.checkpoint import Checkpoint
from harness_servers.errors import CheckpointError
from harness_servers.models.narrow_model import NarrowModel
from harness_servers.models.protocol import SequenceModel
from harness_servers.models.state_code import StateCodeError

# Texts that may stand before a question, one a line: what a code of its state is fitted to.
CONTEXTS: Final = "contexts.txt"
_HAVE_ONE: Final = "RNNs and SSMs (lstm, gru, mamba2 and others) have a state that does neither"


def narrowed(checkpoint: Checkpoint[SequenceModel], num_bits: int) -> Checkpoint[SequenceModel]:
    """The same, of a NarrowModel. Raises CheckpointError, saying what is missing."""
    try:
        return replace(checkpoint, model=_narrow_model(checkpoint, num_bits))
    except (CheckpointError, StateCodeError) as error:
        raise CheckpointError(
            f"checkpoint {checkpoint.folder}: --state-bits {num_bits}: {error}"
        ) from error


def _narrow_model(checkpoint: Checkpoint[SequenceModel], num_bits: int) -> NarrowModel:
    model, codec = checkpoint.model, checkpoint.codec
    if model.state_bytes_per_token():
        raise CheckpointError(
            "what it keeps grows with the context, and no number of bits is all that it carries; "
            f"{_HAVE_ONE}"
        )
    if not all(tensor.is_floating_point() for tensor in model.init_state(1).values()):
        raise CheckpointError(
            "its state counts the tokens that it keeps, and a count is nothing that is cut to so "
            f"many bits; {_HAVE_ONE}"
        )
    if not codec.question_ids:
        raise CheckpointError("its vocabulary has no word that says where a question begins")
    path = checkpoint.folder / CONTEXTS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{CONTEXTS}, texts that its code is fitted to: {error}") from error
    contexts = [codec.encode(line) for line in lines if line.strip()]
    if len(contexts) < 2:
        raise CheckpointError(f"{CONTEXTS} has {len(contexts)} texts; at least 2 are needed")
    for number, context in enumerate(contexts, start=1):
        if context.unknown:
            word = context.unknown[0].word
            raise CheckpointError(f"{CONTEXTS}: text {number}: {word!r} is not in the vocabulary")
    return NarrowModel(
        model,
        num_bits=num_bits,
        question_ids=codec.question_ids,
        contexts=[context.ids for context in contexts],
    )
