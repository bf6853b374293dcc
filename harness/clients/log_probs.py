"""How likely a model found tokens, as its server says it: to and from the wire."""

from collections.abc import Iterable, Sequence

from harnessapi.inference.v1 import inference_pb2 as pb
from msgspec import Struct

from harness.clients.completion import Completion
from harness.clients.scored_token import ScoredToken, TopLogProb, total_log_prob


class Score(Struct, frozen=True, kw_only=True):
    """A continuation, token by token, and the prompt as the model saw it."""

    prompt_token_ids: tuple[int, ...]
    tokens: tuple[ScoredToken, ...]

    @property
    def log_prob(self) -> float:
        """Of the whole continuation, but for a first token that nothing stands before."""
        return total_log_prob(self.tokens)

    @property
    def is_greedy(self) -> bool:
        """Whether every token was the likeliest of its place; scored with `top_log_probs` of 1."""
        return all(one.top[0].token_id == one.token_id for one in self.tokens if one.top)


class LikelyCompletion(Struct, frozen=True, kw_only=True):
    """A completion with the log-probabilities of its generated tokens, in their order."""

    completion: Completion
    log_probs: tuple[ScoredToken, ...]


def score_request(
    prompt: str | Sequence[int] | None, continuation: str | Sequence[int], top_log_probs: int
) -> pb.ScoreRequest:
    """Texts, or token ids as they are; without a prompt a text is read as a prompt's is."""
    message = pb.ScoreRequest(top_log_probs=top_log_probs)
    if isinstance(prompt, str):
        message.text = prompt
    elif prompt is not None:
        message.token_ids.CopyFrom(pb.TokenIds(ids=prompt))
    if isinstance(continuation, str):
        message.continuation_text = continuation
    else:
        message.continuation_ids.CopyFrom(pb.TokenIds(ids=continuation))
    return message


def read_score(message: pb.ScoreResponse) -> Score:
    """What the server said."""
    return Score(
        prompt_token_ids=tuple(message.prompt_token_ids), tokens=read_log_probs(message.tokens)
    )


def read_log_probs(messages: Iterable[pb.TokenLogProb]) -> tuple[ScoredToken, ...]:
    """In their order."""
    return tuple(
        ScoredToken(
            token_id=one.token_id,
            token=one.token,
            log_prob=one.log_prob if one.HasField("log_prob") else None,
            top=tuple(
                TopLogProb(token_id=top.token_id, token=top.token, log_prob=top.log_prob)
                for top in one.top
            ),
        )
        for one in messages
    )
