"""A prompt as messages: all of it as one, or the worked problems as the turns before the asked."""

from typing import NamedTuple

from harness.endpoints.external import Api
from harness.sample import Exchange, Prompt


class Message(NamedTuple):
    """As every chat template and API knows it."""

    role: str
    content: str


def conversation(
    prompt: Prompt, api: Api, system_prompt: str | None, *, results_are_messages: bool
) -> list[Message]:
    """Up to where the model replies.

    `results_are_messages`: a search ends the model's message, and the result is the user's next.
    """
    messages = [] if system_prompt is None else [Message("system", system_prompt)]
    if api is not Api.TURNS or prompt.asked is None:
        return [*messages, Message("user", prompt.text)]
    for exchange in prompt.exchanges:
        messages += _turns(exchange, results_are_messages=results_are_messages)
    return [*messages, Message("user", prompt.asked)]


def _turns(exchange: Exchange, *, results_are_messages: bool) -> list[Message]:
    replies = exchange.turns if results_are_messages else (exchange.reply,)
    said = (exchange.asked, *replies)
    return [Message("assistant" if place % 2 else "user", text) for place, text in enumerate(said)]
