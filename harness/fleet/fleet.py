"""Opens endpoints and closes them again: one process a checkpoint, one channel an endpoint."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from harnessapi.rpc.dialing import Dialing
from harnessapi.rpc.targets import parse_target

from harness.clients.connection import Connection, connect
from harness.clients.grpc_client import Client
from harness.clients.model_client import ModelClient
from harness.clients.replicas import Replicas
from harness.endpoints.addresses import Place
from harness.endpoints.endpoint import Endpoint
from harness.errors import HarnessError, InputError, UnreachableError
from harness.fleet.local_server import LocalServer, Say
from harness.fleet.open_replicas import open_replicas
from harness.fleet.plans import (
    SEARCH_SERVER,
    Program,
    ServerKey,
    ServerPlan,
    model_arguments,
    plan_models,
    server_key,
)
from harness_retrieval.remote import RemoteRetriever
from harness_retrieval.types import Retriever

# The kernel's limit is 108 with the closing zero; some systems have less.
_MAX_SOCKET_PATH: Final = 100

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """Endpoints by name: the connections to those that are there, and why the others are not."""

    connections: dict[str, Connection]
    failures: dict[str, HarnessError]


@asynccontextmanager
async def open_fleet(
    endpoints: Sequence[Endpoint],
    say: Say,
    *,
    model_server: Program,
    connect_timeout_s: float,
) -> AsyncIterator[Opened]:
    """Starts and asks all side by side; local servers are stopped at the end, however it comes.

    One that does not start or answer is a failure of its endpoints alone. Raises InputError for a
    checkpoint that is not there.
    """
    folder = _short_folder()
    opened: list[Replicas] = []
    servers: dict[ServerKey, LocalServer] = {}
    search: LocalServer | None = None
    all_servers: list[LocalServer] = []
    failed: dict[LocalServer, HarnessError] = {}

    async def open_one(endpoint: Endpoint) -> Connection:
        server = _server(endpoint, servers, search)
        if server is not None and server in failed:
            raise failed[server]
        replicas = await open_replicas(
            endpoint,
            lambda place: _client(endpoint, server, place),
            lambda text: say(f"endpoint '{endpoint.name}': {text}", is_warning=True),
        )
        opened.append(replicas)
        return await connect(endpoint, replicas, server, timeout_s=connect_timeout_s)

    try:
        for key, plan in _plan_models(endpoints, model_server, folder).items():
            servers[key] = LocalServer(plan, say)
        if any(not endpoint.is_ours and endpoint.retrieval for endpoint in endpoints):
            search = LocalServer(_plan_search(folder), say)
        all_servers = [*servers.values(), *([search] if search else [])]
        _, failed = await _settle({server: _start(server) for server in all_servers})
        connections, failures = await _settle({one.name: open_one(one) for one in endpoints})
        yield Opened(connections=connections, failures=failures)
    finally:
        stop_all(all_servers)
        for replicas in opened:
            await replicas.close()
        shutil.rmtree(folder, ignore_errors=True)


def _server(
    endpoint: Endpoint, servers: Mapping[ServerKey, LocalServer], search: LocalServer | None
) -> LocalServer | None:
    """The process of ours that an endpoint needs: of its checkpoint, or of its searches."""
    if endpoint.checkpoint is not None:
        return servers[server_key(endpoint)]
    return search if not endpoint.is_ours and endpoint.retrieval else None


def _client(endpoint: Endpoint, server: LocalServer | None, place: Place) -> ModelClient:
    if endpoint.is_ours:
        if server is not None:
            return Client(server.plan.target, endpoint.api, endpoint.request)
        target = parse_target(place.address)
        return Client(target, endpoint.api, endpoint.request, _dialing(endpoint))
    retriever = RemoteRetriever(server.plan.target.name) if server else None
    if endpoint.external is None:
        return _engine_client(endpoint, retriever, place)
    # Here and not at the top: who asks nobody over HTTP does not wait for its library.
    from harness.clients.openai.openai_client import ExternalClient  # noqa: PLC0415

    return ExternalClient(
        place.named, endpoint.external, retriever, endpoint.request, number=place.number
    )


def _dialing(endpoint: Endpoint) -> Dialing:
    try:
        return endpoint.dialing()
    except InputError as error:
        raise InputError(f"endpoint '{endpoint.name}': {error}") from None


def _engine_client(endpoint: Endpoint, retriever: Retriever | None, place: Place) -> ModelClient:
    if endpoint.engine is None:
        raise RuntimeError(f"{endpoint.name} is no engine's")
    try:
        # Here and not at the top: an extra has what it needs.
        from harness.clients.engines.engine_client import EngineClient  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise InputError(
            f"endpoint '{endpoint.name}': protocol = \"{endpoint.engine.protocol}\" needs "
            f"{error.name}, of the extra `engine-grpc`: pip install 'recall-harness[engine-grpc]'"
        ) from None
    target, folder = parse_target(place.address), endpoint.tokenizer_folder()
    try:
        return EngineClient(
            target,
            endpoint.engine,
            folder,
            retriever,
            request=endpoint.request,
            dialing=endpoint.dialing(),
        )
    except InputError as error:
        raise InputError(f"endpoint '{endpoint.name}': {error}") from None


def _plan_search(folder: Path) -> ServerPlan:
    return ServerPlan(
        label="the search service",
        program=SEARCH_SERVER,
        target=parse_target(f"unix:{folder}/search.sock"),
        log=folder / "search.log",
    )


def _plan_models(
    endpoints: Iterable[Endpoint], program: Program, folder: Path
) -> dict[ServerKey, ServerPlan]:
    """One server on a Unix socket for each checkpoint, served in one way, of the endpoints."""
    return plan_models(
        endpoints,
        lambda number, endpoint: ServerPlan(
            label=f"{endpoint.name} ({endpoint.checkpoint})",
            program=program,
            arguments=model_arguments(endpoint),
            target=parse_target(f"unix:{folder}/{number}.sock"),
            log=folder / f"{number}.log",
            start_timeout_s=endpoint.start_timeout_s,
        ),
    )


async def start_all(servers: Iterable[LocalServer]) -> None:
    """Starts them side by side. Once all have come up or failed, raises what `all_failed` says."""
    _, failed = await _settle({server: _start(server) for server in servers})
    if failed:
        raise all_failed(failed.values())


def all_failed(failures: Iterable[HarnessError]) -> HarnessError:
    """One error that tells of all: InputError where only refusals were in the way.

    Else it is an UnreachableError.
    """
    distinct = list({str(failure): failure for failure in failures}.values())
    if len(distinct) == 1:
        return distinct[0]
    refused = all(isinstance(failure, InputError) for failure in distinct)
    return (InputError if refused else UnreachableError)("\n".join(map(str, distinct)))


async def _start(server: LocalServer) -> None:
    """Raises InputError where it cannot be started, and as `LocalServer.start` does."""
    server.plan.program.require()
    await server.start()


async def _settle(
    calls: Mapping[Key, Awaitable[Value]],
) -> tuple[dict[Key, Value], dict[Key, HarnessError]]:
    """Awaits all side by side: what came of them, and why those that failed did."""
    done: dict[Key, Value] = {}
    failed: dict[Key, HarnessError] = {}
    results = await asyncio.gather(*calls.values(), return_exceptions=True)
    for key, result in zip(calls, results, strict=True):
        if isinstance(result, HarnessError):
            failed[key] = result
        elif isinstance(result, BaseException):
            raise result
        else:
            done[key] = result
    return done, failed


def stop_all(servers: Iterable[LocalServer]) -> None:
    """Asks all to stop, then waits for each: none holds up the others."""
    servers = list(servers)
    for server in servers:
        server.request_stop()
    for server in servers:
        server.wait_stopped()


def _short_folder() -> Path:
    """A fresh folder of ours alone, with a path that leaves room for a socket's name."""
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108
        folder = Path(tempfile.mkdtemp(prefix="harness-", dir=parent))
        if len(str(folder)) + len("/search.sock") <= _MAX_SOCKET_PATH:
            return folder
        folder.rmdir()
    raise InputError("no temporary folder with a path short enough for a Unix socket")
