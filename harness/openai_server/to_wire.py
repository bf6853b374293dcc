"""A request of the OpenAI API as messages of the wire. All that is raised is ApiError."""

import secrets
from typing import Final

from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.rpc.enums import MODES
from harnessapi.values import Mode
from msgspec.structs import asdict

from harness.openai_server.bodies import ChatBody, CompletionBody, Recall
from harness.openai_server.errors import refused
from harness.openai_server.upstream import Upstream
from harness.way import Style

PromptBody = CompletionBody | ChatBody
# A text, its token ids, or messages.
AskedPrompt = str | tuple[int, ...] | pb.Conversation
_NUM_SEEDS: Final = 2**31
# What a prompt of written language promises is not cut off: the context is the limit.
_MAX_INSERTED_TOKENS: Final = 65_536


def chat_prompt(body: ChatBody, upstream: Upstream) -> AskedPrompt:
    """Messages for a chat template; without one the text of the only message, the user's."""
    messages = [pb.Message(role=one.role, content=one.text) for one in body.messages]
    if not upstream.model.has_chat_template:
        if len(messages) != 1 or messages[0].role != "user":
            raise refused(
                "messages",
                f"{upstream.name} has no chat template: it takes one message, the user's, "
                "whose text is the prompt",
            )
        return messages[0].content
    system = upstream.request.system_prompt
    if system is not None and messages[0].role != "system":
        messages.insert(0, pb.Message(role="system", content=system))
    return pb.Conversation(messages=messages)


def num_top_log_probs(body: PromptBody, upstream: Upstream) -> int | None:
    """Of the likeliest tokens that are asked for at each place; None: no log-probabilities are."""
    if isinstance(body, CompletionBody):
        name, asked = "logprobs", body.logprobs
    else:
        name, asked = "top_logprobs", (body.top_logprobs or 0) if body.logprobs else None
        if asked is None and body.top_logprobs:
            raise refused(name, "it needs logprobs = true")
    most = upstream.model.max_top_log_probs
    if asked is not None and most is None:
        raise refused("logprobs", f"{upstream.name} gives no log-probabilities")
    if asked is not None and most is not None and asked > most:
        raise refused(name, f"it is {asked}; {upstream.name} gives at most {most}")
    return asked


def generate_message(
    body: PromptBody, upstream: Upstream, prompt: AskedPrompt
) -> pb.GenerateRequest:
    """For one choice."""
    limit = body.token_limit
    message = pb.GenerateRequest(
        sampling=_sampling(body, upstream),
        stopping=pb.StoppingOptions(max_new_tokens=limit, stop=body.stops),
        top_log_probs=num_top_log_probs(body, upstream),
    )
    match prompt:
        case str():
            message.text = prompt
        case tuple():
            message.token_ids.ids.extend(prompt)
        case _:
            message.messages.CopyFrom(prompt)
    mode = _mode(body.recall, upstream)
    if mode is not None:
        message.retrieval.CopyFrom(_retrieval(body.recall, mode, upstream, limit))
    return message


def _sampling(body: PromptBody, upstream: Upstream) -> pb.SamplingOptions:
    """The request's, else the endpoint's, else greedy; unseeded draws differ from call to call."""
    options = upstream.request
    temperature = body.temperature if body.temperature is not None else options.temperature or 0.0
    seed = body.seed if body.seed is not None else options.sampling_seed
    if seed is None and temperature > 0:
        seed = secrets.randbelow(_NUM_SEEDS)
    return pb.SamplingOptions(
        temperature=temperature,
        top_p=body.top_p if body.top_p is not None else options.top_p,
        top_k=body.top_k,
        seed=seed,
    )


def _mode(recall: Recall, upstream: Upstream) -> Mode | None:
    if recall.mode is None or recall.mode == "none":
        return upstream.mode if recall.mode is None else None
    if upstream.mode is None:
        raise refused("recall.mode", f"{upstream.name} is served without its search channel")
    return Mode(recall.mode)


def _retrieval(
    recall: Recall, mode: Mode, upstream: Upstream, limit: int | None
) -> pb.RetrievalOptions:
    told = {
        name: value
        for name, value in asdict(recall).items()
        if value is not None and name not in {"mode", "abbreviations"}
    }
    # As `harness eval` asks: the tokens are the limit that counts, a search takes several of them.
    if limit is not None:
        told.setdefault("max_searches", limit)
    if Style.NATURAL in upstream.model.styles:
        told.setdefault("max_inserted_tokens", _MAX_INSERTED_TOKENS)
    abbreviations = [
        pb.Abbreviation(query=one.query, pattern=one.pattern) for one in recall.abbreviations
    ]
    return pb.RetrievalOptions(mode=MODES.number(mode), abbreviations=abbreviations, **told)
