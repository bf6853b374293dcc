"""One address of an endpoint, and what of its model has to be the same at all of them."""

from collections.abc import Mapping
from typing import Final

from harnessapi.values import ModelDescription

from harness.clients.faults import AttemptError
from harness.clients.model_client import ModelClient
from harness.clients.pace import Pace

# What decides an answer, and what the plan of a run is made from. Not where it is computed.
_EQUAL: Final = (
    "checkpoint_digest",
    "tokenizer_digest",
    "state_bits",
    "dtype",
    "context_limit",
    "max_prompt_tokens",
    "max_new_tokens",
    "max_top_log_probs",
    "modes",
    "styles",
    "takes_searched_text",
    "has_chat_template",
)
# What there is to compare where a server has no digest.
_NAMES: Final = ("name", "engine")


class Replica:
    """Who speaks to it, what lets requests through to it, and how many it has."""

    def __init__(self, client: ModelClient, *, address: str = "", pace: Pace | None = None) -> None:
        """`address` names it in records; empty where an endpoint has no other."""
        self.client = client
        self.address = address
        self.pace = pace or Pace()
        # Attempts that are under way there, or wait for their turn; and all there ever were.
        self.num_outstanding = 0
        self.num_asked = 0
        # It failed, and was not found well since.
        self.is_out = False
        # It serves something else: nothing more is asked of it.
        self.is_refused = False
        self._had_list = False

    async def describe(self) -> ModelDescription | None:
        """What it serves; None where it is not well: the client's `cause` says why."""
        client = self.client
        if not await client.is_serving():
            return None
        try:
            model = await client.get_model()
        except AttemptError as error:
            client.cause = str(error)
            return None
        if self._had_list and not client.listed:
            # A server that hangs still takes connections.
            client.cause = "its list of models does not come any more"
            return None
        self._had_list = bool(client.listed)
        return model


def differing(models: Mapping[str, ModelDescription]) -> list[str]:
    """What is not the same at all addresses: a line each, which says where it is what."""
    have_digests = any(model.checkpoint_digest for model in models.values())
    lines = []
    for name in (*_EQUAL, *(() if have_digests else _NAMES)):
        places: dict[object, list[str]] = {}
        for address, model in models.items():
            places.setdefault(getattr(model, name), []).append(address)
        if len(places) > 1:
            told = "; ".join(f"{_shown(value)} at {', '.join(at)}" for value, at in places.items())
            lines.append(f"{name}: {told}")
    return lines


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in ("", None) else str(value)
