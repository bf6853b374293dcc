"""An endpoint as it was configured: what stands behind its name, and how it is asked."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from harnessapi.rpc.dialing import IN_THE_CLEAR, Dialing
from harnessapi.rpc.secret_files import SecurityError
from harnessapi.rpc.targets import parse_target
from harnessapi.values import ModelDescription

from harness.endpoints.dialled import token_source
from harness.endpoints.engines import EngineServer, check_engine_request
from harness.endpoints.external import Api, External, chosen_api
from harness.endpoints.prices import Prices
from harness.endpoints.request_options import DEFAULT_REQUEST, OWN_KEYS, RequestOptions
from harness.endpoints.serving import Serving
from harness.errors import InputError
from harness.way import Style


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """A name for one serving process and how to use it: a checkpoint to serve, or an address."""

    name: str
    checkpoint: str | None = None
    address: str | None = None
    # Where the same model is served besides: requests are spread over all of them.
    more_addresses: tuple[str, ...] = ()
    # Each address that a name has by DNS is one of them too.
    resolve: bool = False
    # Whether the model gets its search channel.
    retrieval: bool = False
    # How a checkpoint's server is started.
    serving: Serving = field(default_factory=Serving)
    # How a language model gets its prompts, where the file says so; None: in a conversation, but a
    # model of ours without a chat template as a text.
    api: Api | None = None
    # How an address is asked that is a web address.
    external: External | None = None
    # How an address is asked that has a protocol of its own.
    engine: EngineServer | None = None
    # What it is told besides the text.
    request: RequestOptions = DEFAULT_REQUEST
    # How a gRPC address is dialled; and the variable that holds the token which is shown there.
    dialled: Dialing = IN_THE_CLEAR
    token_env: str = ""
    # The table whose folder of checkpoints it is of.
    group: str | None = None
    # What its tokens cost; None: the file does not say.
    prices: Prices | None = None
    # Where a relative checkpoint is looked for, in this order.
    folders: tuple[Path, ...] = ()

    @property
    def start_timeout_s(self) -> float:
        """From the start of a checkpoint's server until it is healthy."""
        return self.serving.start_timeout_s

    @property
    def place(self) -> str:
        """The checkpoint or the addresses, as the file has them; a web address with its model."""
        addresses = ", ".join(self.addresses)
        if self.external is not None:
            return f"{addresses} {self.external.model}"
        if self.engine is not None:
            return f"{addresses} {self.engine.protocol}"
        return self.checkpoint or addresses

    @property
    def addresses(self) -> tuple[str, ...]:
        """All that the file names; none of a checkpoint."""
        return () if self.address is None else (self.address, *self.more_addresses)

    @property
    def has_replicas(self) -> bool:
        """Several processes may answer: each sample says which one did."""
        return bool(self.more_addresses) or self.resolve

    @property
    def is_ours(self) -> bool:
        """Whether a server of this harness stands behind it."""
        return self.external is None and self.engine is None

    @property
    def style(self) -> Style | None:
        """What the model of another's server reads; None: ours say so themselves."""
        other = self.external or self.engine
        return None if other is None else other.style

    def with_request(self, options: RequestOptions) -> "Endpoint":
        """The endpoint with these options over its own. Raises InputError where it has no such."""
        try:
            check_request(options, self.external, self.engine)
        except InputError as error:
            raise InputError(f"endpoint '{self.name}': {error}") from None
        return replace(self, request=options.over(self.request))

    def api_for(self, model: ModelDescription) -> Api | None:
        """How it is given written language; None for a model that does not read any."""
        if Style.NATURAL not in model.styles:
            return None
        if self.external is not None:
            return self.external.api
        api = self.api if self.engine is None else self.engine.api
        return chosen_api(api, has_chat_template=model.has_chat_template)

    def dialing(self) -> Dialing:
        """With the token that the environment holds, and all of it read once.

        Raises InputError for what is missing or cannot be used.
        """
        dialled = self.dialled
        if self.token_env:
            dialled = replace(dialled, token=token_source(self.token_env))
        try:
            dialled.check(parse_target(self.address or ""))
        except SecurityError as error:
            raise InputError(str(error)) from None
        return dialled

    def checkpoint_folder(self) -> Path:
        """The folder of a local endpoint's checkpoint. Raises InputError saying where it looked."""
        return self._folder(self.checkpoint or "", "checkpoint")

    def tokenizer_folder(self) -> Path:
        """The folder of an engine's tokenizer. Raises InputError saying where it looked."""
        return self._folder("" if self.engine is None else self.engine.tokenizer, "tokenizer")

    def _folder(self, path: str, what: str) -> Path:
        candidates = [folder / path for folder in self.folders]
        for candidate in candidates:
            if candidate.is_dir():
                return candidate.resolve()
        looked = ", nor at ".join(dict.fromkeys(str(path) for path in candidates))
        raise InputError(f"endpoint '{self.name}': no {what} at {looked}")


def check_request(
    options: RequestOptions, external: External | None, engine: EngineServer | None
) -> None:
    """Raises InputError for what the kind of endpoint cannot be told."""
    if engine is not None:
        check_engine_request(options, engine)
    elif external is None:
        for name in options.given():
            if name not in OWN_KEYS:
                raise InputError(f"{name} needs an address that begins with http:// or https://")
    elif options.system_prompt is not None and not external.api.is_chat:
        raise InputError('system_prompt needs api = "chat": completions have no messages')
