"""Random models of every family, a scripted one, and an engine that is stepped by hand."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from harnessapi.values import Markers, Mode
from tokenizers import Tokenizer

from harness_retrieval.local import LocalRetriever
from harness_retrieval.types import Retriever, SearchRequest
from harness_servers.checkpoints.checkpoint import Checkpoint, save_checkpoint
from harness_servers.checkpoints.checkpoint_config import parse_config
from harness_servers.checkpoints.codec import Codec
from harness_servers.checkpoints.model_card import ModelCard
from harness_servers.engine.engine import Engine
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.errors import ServingError
from harness_servers.generation import (
    Delta,
    Event,
    Finished,
    Job,
    Retrieval,
    Sampling,
    Scored,
    Stopping,
    TokenLogProb,
)
from harness_servers.models.bamba import BambaModel
from harness_servers.models.lstm import LstmConfig, LstmModel
from harness_servers.models.mamba2 import Mamba2Model
from harness_servers.models.protocol import SequenceModel
from harness_servers.models.scripted import ScriptedModel
from harness_servers.sequences.runner_options import RunnerOptions
from harness_servers.sequences.sequence import Sequence as FollowedSequence
from harness_servers.sequences.sequence_runner import SequenceRunner
from harness_servers.token_source import Command
from harness_training.tokenizer import build_tokenizer, checkpoint_config

# As a server does by default; two threads a tensor of this size wait for each other.
torch.set_num_threads(1)

NO_LIMIT = Stopping(max_new_tokens=10_000)


@dataclass(kw_only=True)
class Received:
    """What one sequence's reader has got."""

    sequence: FollowedSequence | None = None
    events: list[Event] = field(default_factory=list)
    error: ServingError | None = None

    def take(self) -> None:
        assert self.sequence is not None
        try:
            self.events += self.sequence.take()
        except ServingError as error:
            self.error = error

    @property
    def tokens(self) -> list[int]:
        return [token for delta in self.deltas for token in delta.token_ids]

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)

    @property
    def deltas(self) -> list[Delta]:
        return [event for event in self.events if isinstance(event, Delta)]

    @property
    def log_probs(self) -> list[TokenLogProb]:
        """Of what was generated, or of what was given."""
        events = [*self.deltas, *self.of(Scored)]
        return [log_prob for event in events for log_prob in event.log_probs]

    @property
    def finished(self) -> Finished:
        last = self.events[-1]
        assert isinstance(last, Finished)
        return last

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]


def new_job(
    codec: Codec,
    prompt: str | Sequence[int],
    *,
    stopping: Stopping | None = None,
    sampling: Sampling | None = None,
    retrieval: Retrieval | None = None,
    deadline_ns: int | None = None,
    arrived_ns: int | None = None,
    top_log_probs: int | None = None,
    given_ids: Sequence[int] | None = None,
) -> Job:
    return Job(
        prompt_ids=codec.encode(prompt).ids if isinstance(prompt, str) else tuple(prompt),
        sampling=sampling or Sampling(),
        stopping=stopping or Stopping(),
        retrieval=retrieval,
        arrived_ns=time.monotonic_ns() if arrived_ns is None else arrived_ns,
        deadline_ns=deadline_ns,
        top_log_probs=top_log_probs,
        given_ids=None if given_ids is None else tuple(given_ids),
    )


class Driver:
    """Steps an engine and the runner before it on the test's own thread; searches are made between
    two steps.
    """

    def __init__(
        self,
        model: SequenceModel,
        codec: Codec,
        *,
        options: EngineOptions | None = None,
        retriever: Retriever | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        # What a step does is told at its end.
        options = replace(options or EngineOptions(), news_interval_ns=0)
        self.engine = Engine(model, options, clock=clock)
        self.forgotten: list[str] = []
        self.searches: list[tuple[int, SearchRequest]] = []
        self.commands: list[Command] = []
        self._received: dict[int, Received] = {}
        self._retriever = retriever or LocalRetriever()
        self._codec = codec
        self.runner = SequenceRunner(
            send=self.commands.append,
            codec=codec,
            context_limit=model.context_limit,
            searches=self,
            context_prefix="test",
            options=RunnerOptions(num_slots=options.num_slots),
            clock=clock,
        )

    def submit(self, sequence_id: int, request: SearchRequest) -> None:
        self.searches.append((sequence_id, request))

    def forget(self, context_id: str) -> None:
        self.forgotten.append(context_id)

    def ask(
        self,
        prompt: str | Sequence[int],
        *,
        stopping: Stopping = NO_LIMIT,
        sampling: Sampling | None = None,
        retrieval: Retrieval | None = None,
        deadline_ns: int | None = None,
        arrived_ns: int | None = None,
        top_log_probs: int | None = None,
        given_ids: Sequence[int] | None = None,
    ) -> Received:
        job = new_job(
            self._codec,
            prompt,
            stopping=stopping,
            sampling=sampling,
            retrieval=retrieval,
            deadline_ns=deadline_ns,
            arrived_ns=arrived_ns,
            top_log_probs=top_log_probs,
            given_ids=given_ids,
        )
        try:
            sequence = self.runner.submit(job)
        except ServingError as error:
            return Received(error=error)
        self._received[sequence.id] = Received(sequence=sequence)
        return self._received[sequence.id]

    def cancel(self, received: Received) -> None:
        self.runner.cancel(received.sequence)

    @property
    def has_work(self) -> bool:
        return bool(self.commands) or self.engine.has_work

    def step(self) -> None:
        self.take_due()
        commands, self.commands[:] = list(self.commands), []
        self.engine.take(commands)
        if self.engine.has_work:
            self.engine.step(lambda: True)  # of several in a row the first alone
        news = self.engine.take_news()
        if news is not None:
            self.runner.take_news(news)
        self.take_due()

    def take_due(self) -> None:
        for sequence in self.runner.take_due():
            self._received[sequence.id].take()

    def search(self) -> None:
        waiting, self.searches = self.searches, []
        if waiting:
            results = self._retriever.search([request for _, request in waiting])
            for (sequence_id, _), result in zip(waiting, results, strict=True):
                self.runner.take_result(sequence_id, result)

    def run(self) -> None:
        """Until nothing is left to do."""
        while self.has_work or self.searches:
            self.step()
            self.search()
        self.take_due()


def make_lstm(width: int = 32, vocab_size: int = 812, seed: int = 0) -> LstmModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LstmModel(LstmConfig(vocab_size=vocab_size, hidden_size=width, num_hidden_layers=2))
        for name, weight in model.lstm.named_parameters():
            if name.startswith("weight"):
                weight.data *= 2
    model.eval()
    return model


SSM_SHAPE: dict[str, object] = {
    "model_type": "mamba2",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "expand": 2,
    "num_heads": 4,
    "head_dim": 16,
    "state_size": 8,
    "n_groups": 2,
    "conv_kernel": 4,
    "chunk_size": 8,
}
HYBRID_SHAPE: dict[str, object] = {
    "model_type": "bamba",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "attn_layer_indices": [1],
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
    "mamba_d_conv": 4,
    "mamba_chunk_size": 8,
    "max_position_embeddings": 1024,
}


def make_random(kind, shape: Mapping[str, object], vocab_size: int, seed: int = 0):
    """A model whose next token depends on much of what it has read."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind.from_config({**shape, "vocab_size": vocab_size, "tie_word_embeddings": True})
        for name, weight in model.named_parameters():
            if not weight.any():  # some begin at zero, and so would pass nothing on
                torch.nn.init.normal_(weight, std=0.3)
            elif name.endswith("proj.weight"):
                weight.data *= 3
    model.eval()
    return model


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return build_tokenizer()


@pytest.fixture(scope="session")
def codec(tokenizer: Tokenizer) -> Codec:
    return Codec(
        tokenizer,
        eos_ids=frozenset({tokenizer.token_to_id("<eos>")}),
        answer_id=tokenizer.token_to_id("<answer>"),
        markers=Markers(),
    )


@pytest.fixture(scope="session")
def make_job(codec: Codec) -> Callable[..., Job]:
    return partial(new_job, codec)


@pytest.fixture(scope="session")
def checkpoint_of(codec: Codec, config: dict[str, object]) -> Callable[[SequenceModel], Checkpoint]:
    """A model as if it had been loaded."""

    def make(model: SequenceModel) -> Checkpoint:
        return Checkpoint(
            folder=Path("nowhere"),
            name="test",
            config=parse_config(config),
            model=model,
            codec=codec,
            num_parameters=0,
            stored_dtype="float32",
            digest="",
            tokenizer_digest="",
            card=ModelCard(),
        )

    return make


@pytest.fixture(scope="session")
def lstm(tokenizer: Tokenizer) -> LstmModel:
    return make_lstm(vocab_size=tokenizer.get_vocab_size())


@pytest.fixture(scope="session")
def ssm(tokenizer: Tokenizer) -> Mamba2Model:
    return make_random(Mamba2Model, SSM_SHAPE, tokenizer.get_vocab_size())


@pytest.fixture(scope="session")
def hybrid(tokenizer: Tokenizer) -> BambaModel:
    return make_random(BambaModel, HYBRID_SHAPE, tokenizer.get_vocab_size())


@pytest.fixture(scope="session", params=["rnn", "ssm", "hybrid"])
def model(request, lstm, ssm, hybrid) -> SequenceModel:
    """Each family in turn."""
    return {"rnn": lstm, "ssm": ssm, "hybrid": hybrid}[request.param]


@pytest.fixture(scope="session")
def scripted(tokenizer: Tokenizer) -> Callable[[Mapping[str, str]], ScriptedModel]:
    """Makes a model that writes a text after it has read a word."""

    def make(scripts: Mapping[str, str]) -> ScriptedModel:
        return ScriptedModel.from_scripts(
            {
                tokenizer.token_to_id(word): tokenizer.encode(text, add_special_tokens=False).ids
                for word, text in scripts.items()
            },
            vocabulary_size=tokenizer.get_vocab_size(),
        )

    return make


@pytest.fixture(scope="session")
def drive() -> type[Driver]:
    return Driver


@pytest.fixture(scope="session")
def regex() -> Retrieval:
    return Retrieval(mode=Mode.REGEX)


@pytest.fixture(scope="session")
def config(tokenizer: Tokenizer) -> dict[str, object]:
    """config.json of a small LSTM."""
    shape = {"model_type": "lstm", "hidden_size": 16, "num_hidden_layers": 2}
    return checkpoint_config(shape, tokenizer)


@pytest.fixture
def lstm_folder(tmp_path: Path, config: dict[str, object], tokenizer: Tokenizer) -> Path:
    folder = tmp_path / "small"
    save_checkpoint(folder, config, LstmModel.from_config(config).state_dict(), tokenizer)
    return folder


@pytest.fixture(scope="session")
def ssm_config(tokenizer: Tokenizer) -> dict[str, object]:
    """config.json of a small Mamba2."""
    return checkpoint_config(SSM_SHAPE, tokenizer)


@pytest.fixture(scope="session")
def hybrid_config(tokenizer: Tokenizer) -> dict[str, object]:
    """config.json of a small hybrid."""
    return checkpoint_config(HYBRID_SHAPE, tokenizer)


# What the Llama of the tests writes after a word; the last inserted word decides how it goes on.
CHAIN = {
    "<regex>": "<search>",
    "<search>": "fem",
    "fem": r"(\S+)",
    r"(\S+)": "</search>",
    "</search>": "<eos>",
    "gik": "<answer>",
    "FAILED": "<eos>",
    "<direct>": "hob",
    "hob": "<answer>",
    "<answer>": "bab",
    "bab": "<eos>",
    "<cot>": "dok",
    "dok": "dok",
}
LLAMA_SHAPE = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
}


def follow_chain(model: torch.nn.Module, tokenizer: Tokenizer) -> None:
    """Gives each word of CHAIN a direction of its own, from which only the next word is read.

    Everything else stays random, and never leads to a word of the chain.
    """
    embedding, head = model.model.embed_tokens.weight.data, model.lm_head.weight.data
    ids = {word: tokenizer.token_to_id(word) for word in [*CHAIN, "<eos>"]}
    reserved = slice(0, len(CHAIN))
    embedding[:, reserved] = 0
    head[:, reserved] = 0
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.data[reserved] = 0
        layer.mlp.down_proj.weight.data[reserved] = 0
    for token in ids.values():
        embedding[token] = 0
        head[token] = 0
    for direction, (word, following) in enumerate(CHAIN.items()):
        embedding[ids[word], direction] = 20
        head[ids[following], direction] = 100


@pytest.fixture(scope="session")
def chain() -> dict[str, str]:
    """What the Llama of the tests writes after a word."""
    return CHAIN


@pytest.fixture(scope="session")
def llama_config(tokenizer: Tokenizer) -> dict[str, object]:
    """config.json of a small Llama."""
    return {**checkpoint_config(LLAMA_SHAPE, tokenizer), "tie_word_embeddings": False}


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory, tokenizer: Tokenizer, llama_config) -> Path:
    """A random Llama, but for the words of CHAIN."""
    transformers = pytest.importorskip("transformers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(**llama_config, initializer_range=0.3)
        )
    follow_chain(model, tokenizer)
    folder = tmp_path_factory.mktemp("checkpoints") / "llama"
    save_checkpoint(folder, llama_config, model.state_dict(), tokenizer)
    return folder
