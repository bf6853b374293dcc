"""The client of vLLM's and SGLang's own gRPC servers, against servers made of their stubs."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from harnessapi.rpc.targets import parse_target
from harnessapi.values import FinishReason, Mode
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from harness.clients.completion import Completion, CompletionRequest
from harness.clients.connection import Backoff, Connection, connect
from harness.clients.engines.engine_client import EngineClient
from harness.clients.faults import AttemptError, DeadlineError, RefusedError, TransientError
from harness.clients.replica import Replica
from harness.clients.replicas import Replicas
from harness.endpoints.endpoint import Endpoint
from harness.endpoints.engines import EngineProtocol, EngineServer
from harness.endpoints.external import Api
from harness.endpoints.request_options import DEFAULT_REQUEST, RequestOptions
from harness.errors import InputError, UnreachableError
from harness.fakes.fake_engine import EngineFacts, EngineReply, EngineScript, FakeEngine
from harness.sample import Prompt
from harness.way import Style
from harness_retrieval.local import LocalRetriever

from .cutting_off import cut_off_once_heard

PROMPT = Prompt(
    text="[Problem 1]\nContext: bab dok ; fem gik ;\nQuestion: fem\n",
    searched="bab dok ; fem gik ; ",
    joint="",
    result_start=" <result> ",
    result_end=" </result> ",
    stops=("\n[Problem",),
    is_language=True,
)
TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if not messages[0].content %}{{ raise_exception('say something') }}{% endif %}[reply]"
)
END = "<|end|>"
BOTH = pytest.mark.parametrize("protocol", EngineProtocol)


def tokenizer() -> Tokenizer:
    """A token a byte, and one that ends a reply."""
    names = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([END])
    return made


TOKENS = tokenizer()
END_ID = TOKENS.token_to_id(END)
FACTS = EngineFacts(vocab_size=END_ID + 1, eos_token_ids=(END_ID,))


def ids(text: str) -> tuple[int, ...]:
    return tuple(TOKENS.encode(text).ids)


def saying(*texts: str, **fields: Any) -> EngineReply:
    return EngineReply(chunks=tuple(ids(text) for text in texts), **fields)


def in_turn(*replies: EngineReply) -> EngineScript:
    return lambda _request, number: replies[min(number, len(replies)) - 1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    TOKENS.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


Opening = Callable[..., Any]


@pytest.fixture
def opened(folder: Path) -> Opening:
    """A fake and a client of it that has asked what it serves."""

    @asynccontextmanager
    async def opening(
        protocol: EngineProtocol,
        script: EngineScript,
        facts: EngineFacts = FACTS,
        *,
        api: Api | None = None,
        options: RequestOptions = DEFAULT_REQUEST,
        is_asked: bool = True,
    ) -> AsyncIterator[tuple[FakeEngine, EngineClient]]:
        engine = EngineServer(protocol=protocol, tokenizer=".", api=api)
        async with FakeEngine(protocol, script, facts) as server:
            target = parse_target(server.address)
            client = EngineClient(target, engine, folder, LocalRetriever(), request=options)
            try:
                if is_asked:
                    await client.get_model()
                yield server, client
            finally:
                await client.close()

    return opening


def asked(mode: Mode | None = None, *, limit: int = 50, repeat: int = 0) -> CompletionRequest:
    return CompletionRequest(prompt=PROMPT, mode=mode, max_new_tokens=limit, repeat=repeat)


def text_of(request: Any) -> str:
    text: str = TOKENS.decode(list(request.tokenized.input_ids), skip_special_tokens=False)
    return text


@BOTH
async def test_a_completion_is_the_text_of_its_tokens_without_the_one_that_ends_it(
    protocol: EngineProtocol, opened: Opening
) -> None:
    reply = EngineReply(chunks=(ids("Answer:"), ids(" bab"), (END_ID,)))
    async with opened(protocol, in_turn(reply)) as (server, client):
        completion = await client.complete(asked())
    assert completion.reply_text == "Answer: bab"
    assert completion.finish_reason == FinishReason.STOP
    assert completion.prompt_token_ids == ids(PROMPT.text)
    assert completion.num_prompt_tokens == len(ids(PROMPT.text))
    assert completion.num_generated_tokens == len("Answer: bab") + 1
    assert not completion.are_counts_estimated
    assert completion.times.ttft_ms is not None
    [request] = server.calls.requests
    assert text_of(request) == PROMPT.text
    assert request.stream
    assert server.calls.aborted == []


@BOTH
async def test_every_sampling_field_is_said_that_would_not_mean_greedy_at_zero(
    protocol: EngineProtocol, opened: Opening
) -> None:
    async with opened(protocol, in_turn(saying("a"))) as (server, client):
        await client.complete(asked(limit=7))
    [request] = server.calls.requests
    drawn = request.sampling_params
    limit = "max_tokens" if protocol is EngineProtocol.VLLM else "max_new_tokens"
    assert (drawn.temperature, drawn.top_p, drawn.n, getattr(drawn, limit)) == (0, 1, 1, 7)
    assert drawn.HasField(limit)
    assert list(drawn.stop) == ["\n[Problem"]
    if protocol is EngineProtocol.VLLM:
        assert drawn.HasField("temperature")
        assert not drawn.HasField("seed")
    else:
        assert (drawn.top_k, drawn.repetition_penalty) == (-1, 1)


async def test_how_tokens_are_drawn_is_sent_and_a_seed_fits_where_it_goes(opened: Opening) -> None:
    options = RequestOptions(temperature=0.5, top_p=0.75, sampling_seed=2**31 - 1)
    async with opened(EngineProtocol.VLLM, in_turn(saying("a")), options=options) as (server, c):
        await c.complete(asked(repeat=3))
    [request] = server.calls.requests
    drawn = request.sampling_params
    assert (drawn.temperature, drawn.top_p, drawn.seed) == (0.5, 0.75, 2)


@BOTH
async def test_characters_come_whole_however_their_bytes_do(
    protocol: EngineProtocol, opened: Opening
) -> None:
    text = "é 日本 😀!"
    reply = EngineReply(chunks=tuple((token,) for token in ids(text)))
    async with opened(protocol, in_turn(reply)) as (_, client):
        completion = await client.complete(asked())
    assert completion.reply_text == text
    assert completion.num_generated_tokens == len(text.encode())


@BOTH
async def test_a_reply_that_is_not_streamed_is_read_where_it_ends(
    protocol: EngineProtocol, opened: Opening
) -> None:
    script = in_turn(saying("Answer", ": bab", is_whole=True))
    async with opened(protocol, script) as (_, client):
        completion = await client.complete(asked())
    assert (completion.reply_text, completion.num_generated_tokens) == ("Answer: bab", 11)


async def test_length_is_a_truncation(opened: Opening) -> None:
    script = in_turn(saying("Answer: b", finish_reason="length"))
    async with opened(EngineProtocol.VLLM, script) as (_, client):
        assert (await client.complete(asked())).is_truncated


@BOTH
async def test_a_stop_string_ends_a_reply_also_of_a_server_that_goes_on(
    protocol: EngineProtocol, opened: Opening
) -> None:
    reply = saying("Answer: bab\n[Prob", "lem 2]", " more", " and more", is_hung=True)
    async with opened(protocol, in_turn(reply)) as (server, client):
        completion = await client.complete(asked())
        await client.close()
    assert completion.reply_text == "Answer: bab"
    assert completion.finish_reason == FinishReason.STOP
    [request] = server.calls.requests
    assert server.calls.aborted == [request.request_id]


@BOTH
async def test_what_might_have_become_a_stop_string_and_did_not_is_text(
    protocol: EngineProtocol, opened: Opening
) -> None:
    async with opened(protocol, in_turn(saying("bab\n[Pro"))) as (_, client):
        assert (await client.complete(asked())).reply_text == "bab\n[Pro"


@BOTH
@pytest.mark.parametrize("api", Api)
async def test_a_search_is_made_here_and_the_model_goes_on(
    api: Api, protocol: EngineProtocol, opened: Opening, folder: Path
) -> None:
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    # A server sends the tokens of the stop string that it stops at.
    searching = saying("I look: ", "<search> f", "em</search>")
    script = in_turn(searching, saying(" so\nAnswer: gik"))
    async with opened(protocol, script, api=api) as (server, client):
        completion = await client.complete(asked(Mode.DENSE, limit=100))
    assert [(piece.part, piece.text) for piece in completion.transcript] == [
        ("answer", "I look: "),
        ("query", "<search> fem</search>"),
        ("inserted", " <result> fem gik </result> "),
        ("answer", " so\nAnswer: gik"),
    ]
    [search] = completion.searches
    assert (search.query, search.outcome, search.inserted_text) == ("fem", "found", "fem gik")
    assert server.calls.aborted == []
    first, second = server.calls.requests
    assert "</search>" in first.sampling_params.stop
    assert first.request_id != second.request_id
    written = "I look: <search> fem</search>"
    if api.is_chat:
        assert text_of(second) == (
            f"[user]{PROMPT.text}[assistant]{written}[user]<result> fem gik </result>[reply]"
        )
    else:
        assert text_of(second) == f"{PROMPT.text}{written} <result> fem gik </result> "


async def test_a_chat_template_makes_messages_of_it_and_the_system_prompt_is_one(
    opened: Opening, folder: Path
) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    options = RequestOptions(system_prompt="Be brief.")
    script = in_turn(saying("ok"))
    async with opened(EngineProtocol.VLLM, script, options=options) as (server, client):
        assert (await client.get_model()).has_chat_template
        await client.complete(asked())
        num_tokens = await client.count_tokens(PROMPT, timeout_s=600)
    request, counted = server.calls.requests
    assert counted.sampling_params.max_tokens == 1
    assert text_of(request) == f"[system]Be brief.[user]{PROMPT.text}[reply]"
    assert num_tokens == len(request.tokenized.input_ids)


async def test_without_a_template_there_are_no_messages(opened: Opening) -> None:
    script = in_turn(saying("ok"))
    async with opened(EngineProtocol.VLLM, script, api=Api.CHAT) as (_, client):
        with pytest.raises(RefusedError, match='api = "completions" sends a text'):
            await client.complete(asked())
    options = RequestOptions(system_prompt="Be brief.")
    async with opened(EngineProtocol.VLLM, script, options=options) as (_, client):
        with pytest.raises(RefusedError, match="system_prompt needs messages"):
            await client.complete(asked())


async def test_what_a_template_refuses_is_said(opened: Opening, folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    empty = CompletionRequest(prompt=Prompt(text=""), mode=None, max_new_tokens=5)
    async with opened(EngineProtocol.VLLM, in_turn(saying("ok"))) as (_, client):
        with pytest.raises(RefusedError, match="say something"):
            await client.complete(empty)


Code = grpc.StatusCode


@BOTH
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (Code.UNAVAILABLE, TransientError),
        (Code.RESOURCE_EXHAUSTED, TransientError),
        (Code.CANCELLED, TransientError),
        (Code.DEADLINE_EXCEEDED, DeadlineError),
        (Code.INVALID_ARGUMENT, RefusedError),
        (Code.PERMISSION_DENIED, RefusedError),
        (Code.UNAUTHENTICATED, RefusedError),
        (Code.UNIMPLEMENTED, RefusedError),
        (Code.INTERNAL, AttemptError),
    ],
)
async def test_a_status_is_a_fault_of_its_kind(
    status: grpc.StatusCode, kind: type[AttemptError], protocol: EngineProtocol, opened: Opening
) -> None:
    script = in_turn(saying("Ans", status=status, detail="so it says"))
    async with opened(protocol, script) as (server, client):
        with pytest.raises(AttemptError) as caught:
            await client.complete(asked())
        await client.close()
    assert type(caught.value) is kind
    assert caught.value.raw == "Ans"
    if status is not Code.UNIMPLEMENTED:
        assert "so it says" in str(caught.value)
    # The call is over: there is nothing to abort.
    assert server.calls.aborted == []


@BOTH
@pytest.mark.parametrize("reason", [None, "abort", "error"])
async def test_a_stream_without_a_proper_end_is_broken(
    reason: str | None, protocol: EngineProtocol, opened: Opening
) -> None:
    script = in_turn(saying("Ans", finish_reason=reason))
    async with opened(protocol, script) as (_, client):
        with pytest.raises(TransientError, match="BROKEN_STREAM"):
            await client.complete(asked())


@BOTH
async def test_who_is_cancelled_hangs_up_and_the_server_is_told(
    protocol: EngineProtocol, opened: Opening
) -> None:
    script = in_turn(saying("Ans", is_hung=True))
    async with opened(protocol, script) as (server, client):
        task = asyncio.ensure_future(client.complete(asked()))
        while not server.calls.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.calls.was_left.wait()
        await client.close()
        [request] = server.calls.requests
        assert server.calls.aborted == [request.request_id]


async def test_a_deadline_ends_the_request_and_keeps_what_had_come(opened: Opening) -> None:
    script = in_turn(saying("Ans", is_hung=True))
    async with opened(EngineProtocol.VLLM, script) as (server, client):
        with pytest.raises(DeadlineError) as caught:
            await cut_off_once_heard(client, asked())
        await server.calls.was_left.wait()
    assert caught.value.raw in ("", "Ans")


async def test_a_client_that_keeps_the_time_itself_ends_in_time(opened: Opening) -> None:
    async with opened(EngineProtocol.VLLM, in_turn(saying("Ans", is_hung=True))) as (_, client):
        with pytest.raises(DeadlineError, match=r"not done after 0\.5 s"):
            await client.complete(asked(), timeout_s=0.5)


async def test_a_server_without_abort_is_named_once(opened: Opening) -> None:
    facts = EngineFacts(eos_token_ids=(END_ID,), lacks=frozenset({"Abort"}))
    reply = saying("bab\n[Problem", " 2", is_hung=True)
    said: list[str] = []
    async with opened(EngineProtocol.SGLANG, in_turn(reply), facts) as (_, client):
        client.say = said.append
        for _ in range(2):
            await client.complete(asked())
        await client.close()
    [text] = said
    assert "no sglang.grpc.scheduler.SglangScheduler/Abort" in text
    assert "hanging up alone" in text


async def test_a_fault_is_tried_again_and_the_turns_before_it_are_kept(opened: Opening) -> None:
    script = in_turn(
        saying("<search> fem</search>"),
        saying(" s", status=Code.UNAVAILABLE, detail="restarting"),
        saying(" so\nAnswer: gik"),
    )
    async with opened(EngineProtocol.VLLM, script) as (server, client):
        connection = Connection(
            endpoint=Endpoint(
                name="far",
                address=server.address,
                engine=EngineServer(protocol=EngineProtocol.VLLM, tokenizer="."),
            ),
            replicas=Replicas([Replica(client)]),
            model=await client.get_model(),
            server=None,
            backoff=Backoff(initial_s=0.01, max_s=0.02),
        )
        completion: Completion = await connection.complete(
            asked(Mode.DENSE, limit=100), deadline_s=600, generator=random.Random(0)
        )
    assert completion.num_attempts == 2
    assert completion.num_searches == 1
    assert completion.reply_text.endswith("Answer: gik")
    assert len(server.calls.requests) == 3


@BOTH
async def test_a_dialogue_that_outgrows_the_context_ends_there(
    protocol: EngineProtocol, opened: Opening
) -> None:
    detail = "The decoder prompt (length 99 tokens) is longer than the maximum model length of 90."
    full = EngineReply(status=Code.INVALID_ARGUMENT, detail=detail)
    async with opened(protocol, in_turn(saying("<search> fem</search>"), full)) as (_, client):
        completion = await client.complete(asked(Mode.DENSE))
    assert completion.finish_reason == FinishReason.CONTEXT_FULL
    assert completion.is_truncated


@BOTH
async def test_a_server_is_described_by_itself_and_the_tokenizer(
    protocol: EngineProtocol, opened: Opening
) -> None:
    async with opened(protocol, in_turn(EngineReply())) as (_, client):
        assert await client.is_serving()
        model = await client.get_model()
    assert (model.name, model.context_limit) == ("far-model", 4096)
    assert len(model.tokenizer_digest) == 64
    assert model.modes == tuple(Mode)


@BOTH
async def test_a_server_that_is_not_well_is_waited_for_and_says_why(
    protocol: EngineProtocol, opened: Opening
) -> None:
    facts = EngineFacts(is_healthy=False)
    async with opened(protocol, in_turn(EngineReply()), facts) as (server, client):
        endpoint = Endpoint(
            name="far",
            address=server.address,
            engine=EngineServer(protocol=protocol, tokenizer="."),
        )
        with pytest.raises(UnreachableError, match="Engine is not alive"):
            await connect(endpoint, Replicas([Replica(client)]), None, timeout_s=0)


@BOTH
async def test_an_rpc_that_a_server_lacks_is_named(
    protocol: EngineProtocol, opened: Opening
) -> None:
    lacks = frozenset({"HealthCheck", "GetModelInfo", "Generate"})
    facts = EngineFacts(lacks=lacks)
    script = in_turn(EngineReply())
    async with opened(protocol, script, facts, is_asked=False) as (_, client):
        assert not await client.is_serving()
        assert client.cause.count("/HealthCheck") == 1
        assert f'protocol = "{protocol}"' in client.cause
        with pytest.raises(RefusedError, match="/GetModelInfo"):
            await client.get_model()
        with pytest.raises(RefusedError, match="/Generate"):
            await client.complete(asked())


async def test_the_services_are_not_taken_for_one_another(folder: Path) -> None:
    async with FakeEngine(EngineProtocol.VLLM, in_turn(EngineReply())) as server:
        engine = EngineServer(protocol=EngineProtocol.SGLANG, tokenizer=".")
        client = EngineClient(parse_target(server.address), engine, folder, None)
        assert not await client.is_serving()
        await client.close()
    assert "no sglang.grpc.scheduler.SglangScheduler/HealthCheck" in client.cause


async def test_nobody_there_is_said_as_everywhere(folder: Path, free_port: Any) -> None:
    engine = EngineServer(protocol=EngineProtocol.VLLM, tokenizer=".")
    target = parse_target(f"127.0.0.1:{free_port()}")
    client = EngineClient(target, engine, folder, None)
    assert not await client.is_serving()
    await client.close()
    assert client.cause.startswith("connection refused: nobody listens there")


async def test_another_models_tokenizer_and_a_model_that_writes_nothing_are_refused(
    opened: Opening,
) -> None:
    script = in_turn(EngineReply())
    fewer = EngineFacts(vocab_size=END_ID)
    async with opened(EngineProtocol.VLLM, script, fewer, is_asked=False) as (_, client):
        with pytest.raises(RefusedError, match=f"far-model has {END_ID} tokens: it is another"):
            await client.get_model()
    embeds = EngineFacts(is_generation=False)
    async with opened(EngineProtocol.VLLM, script, embeds, is_asked=False) as (_, client):
        with pytest.raises(RefusedError, match="does not write text"):
            await client.get_model()


async def test_headers_are_sent_with_every_call_and_their_secrets_are_masked(
    opened: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAR_KEY", "very-secret-key")
    options = RequestOptions(headers={"X-Team": "recall"}, headers_env={"X-Gateway-Key": "FAR_KEY"})
    script = in_turn(
        saying("very-secret-", "key is ", "yours"),
        EngineReply(status=Code.INTERNAL, detail="no very-secret-key here"),
    )
    async with opened(EngineProtocol.VLLM, script, options=options) as (server, client):
        completion = await client.complete(asked())
        with pytest.raises(AttemptError) as caught:
            await client.complete(asked())
    assert completion.reply_text == "*** is yours"
    assert "no *** here" in str(caught.value)
    for sent in server.calls.metadata:
        assert (sent["x-team"], sent["x-gateway-key"]) == ("recall", "very-secret-key")


async def test_the_words_of_our_checkpoints_are_text_and_unknown_ones_are_refused() -> None:
    folder = Path(__file__).parents[3] / "checkpoints" / "transformer"
    words = Tokenizer.from_file(str(folder / "tokenizer.json"))
    answer = words.encode("<answer> dok", add_special_tokens=False).ids
    engine = EngineServer(
        protocol=EngineProtocol.VLLM, tokenizer=".", api=Api.COMPLETIONS, style=Style.SYMBOLIC
    )
    script = in_turn(EngineReply(chunks=tuple((token,) for token in answer)))
    async with FakeEngine(EngineProtocol.VLLM, script) as server:
        client = EngineClient(parse_target(server.address), engine, folder, None)
        prompt = Prompt(text="assoc_recall ; bab dok ; <direct> bab")
        request = CompletionRequest(prompt=prompt, mode=None, max_new_tokens=9)
        assert (await client.complete(request)).reply_text.split() == ["<answer>", "dok"]
        strange = CompletionRequest(prompt=Prompt(text="bab Zürich"), mode=None, max_new_tokens=9)
        with pytest.raises(RefusedError, match="does not know the word 'Zürich'"):
            await client.complete(strange)
        await client.close()
    [request_sent] = server.calls.requests
    assert not request_sent.sampling_params.skip_special_tokens


def test_a_header_that_grpc_does_not_send_is_named_and_not_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAR_KEY", "Schlüssel-eins")
    engine = EngineServer(protocol=EngineProtocol.VLLM, tokenizer=".")
    options = RequestOptions(headers_env={"X-Key": "FAR_KEY"})
    with pytest.raises(InputError, match=r"FAR_KEY holds .* one line of ASCII") as caught:
        EngineClient(parse_target("127.0.0.1:1"), engine, folder, None, request=options)
    assert "eins" not in str(caught.value)


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    engine = EngineServer(protocol=EngineProtocol.VLLM, tokenizer=".")
    target = parse_target("127.0.0.1:1")
    with pytest.raises(InputError, match=r"there is no tokenizer\.json in"):
        EngineClient(target, engine, tmp_path, None)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="is none"):
        EngineClient(target, engine, tmp_path, None)
