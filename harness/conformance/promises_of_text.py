"""Promises of prompts: text, token ids and conversations are read as they say."""

from typing import Final

from harnessapi.inference.v1 import inference_pb2 as pb

from harness.conformance.expecting import expect, expect_ids, expect_same
from harness.conformance.promise import Promise
from harness.conformance.trial import Trial
from harness.conformance.verdicts import NotOffered


async def _tokens(trial: Trial) -> str:
    answer = trial.tokenized
    ids = list(answer.token_ids)
    expect(
        len(ids) == len(answer.tokens),
        f"{len(ids)} token_ids and {len(answer.tokens)} tokens",
    )
    most = trial.model.vocabulary_size
    expect(max(ids) < most, f"token id {max(ids)} of a vocabulary of {most}")
    request = pb.TokenizeRequest(text=trial.prompt)
    again = await trial.call("Tokenize", trial.stub.Tokenize(request))
    expect_ids("the same text a second time", list(again.token_ids), ids)
    return f"{len(ids)} ids below {most}, twice the same"


async def _prompt_ids(trial: Trial) -> str:
    told, read = list(trial.tokenized.token_ids), trial.prompt_ids
    expect_ids("Started.prompt_token_ids and what Tokenize gave", read, told)
    return f"{len(read)} ids, the same"


async def _token_ids(trial: Trial) -> str:
    request = trial.short()
    request.token_ids.ids.extend(trial.prompt_ids)
    again = await trial.complete(request, "Generate of token_ids")
    expect_ids(
        "Started.prompt_token_ids and the token_ids asked",
        list(again.started.prompt_token_ids),
        trial.prompt_ids,
    )
    expect_same("the completion", again.text, trial.plain.text)
    return "the completion of the text"


async def _messages(trial: Trial) -> str:
    if not trial.model.has_chat_template:
        raise NotOffered("GetModel does not set has_chat_template")
    told = pb.Conversation(messages=[pb.Message(role="user", content=trial.prompt)])
    asked = pb.TokenizeRequest(messages=told)
    answer = await trial.call("Tokenize of messages", trial.stub.Tokenize(asked))
    request = trial.short(1)
    request.messages.CopyFrom(told)
    started = await trial.begin(request, "Generate of messages")
    expect_ids(
        "Started.prompt_token_ids and what Tokenize gave",
        list(started.prompt_token_ids),
        list(answer.token_ids),
    )
    return f"{len(answer.token_ids)} ids, the same"


TEXT: Final = (
    Promise(
        name="tokens",
        right="Tokenize gives a token for each id, all below vocabulary_size, each time the same",
        attempt=_tokens,
        needs=("Tokenize", "model-fields"),
    ),
    Promise(
        name="prompt-ids",
        right="Started.prompt_token_ids are the ids of Tokenize",
        attempt=_prompt_ids,
        needs=("Tokenize", "event-order"),
    ),
    Promise(
        name="token-ids",
        right="a prompt of token_ids is read as it is, and answered as its text is",
        attempt=_token_ids,
        needs=("event-order", "greedy"),
    ),
    Promise(
        name="messages",
        right="with has_chat_template, a prompt may be messages: Tokenize and Generate read the "
        "same ids",
        attempt=_messages,
        needs=("Tokenize", "event-order"),
    ),
)
