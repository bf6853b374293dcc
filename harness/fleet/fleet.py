"""Opens endpoints and closes them again: one process a checkpoint, one channel an endpoint."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from harnessapi.rpc.targets import parse_target

from harness.clients.connection import Connection, connect
from harness.clients.grpc_client import Client
from harness.clients.model_client import ModelClient
from harness.endpoints.config import Endpoint
from harness.errors import HarnessError, InputError, UnreachableError
from harness.fleet.local_server import LocalServer, Say
from harness.fleet.plans import SEARCH_SERVER, Program, ServerPlan, plan_models
from harness_retrieval.remote import RemoteRetriever

# The kernel's limit is 108 with the closing zero; some systems have less.
_MAX_SOCKET_PATH: Final = 100


@asynccontextmanager
async def open_fleet(
    endpoints: Sequence[Endpoint],
    say: Say,
    *,
    model_server: Program,
    connect_timeout_s: float,
) -> AsyncIterator[dict[str, Connection]]:
    """The endpoints by name, healthy; local servers are stopped at the end, however it comes.

    Raises InputError for a checkpoint that is missing or refused, UnreachableError otherwise.
    """
    folder = _short_folder()
    clients: list[ModelClient] = []
    servers: dict[Path, LocalServer] = {}
    search: LocalServer | None = None
    try:
        for checkpoint, plan in _plan_models(endpoints, model_server, folder).items():
            servers[checkpoint] = LocalServer(plan, say)
        if any(endpoint.external and endpoint.retrieval for endpoint in endpoints):
            search = LocalServer(_plan_search(folder), say)
        starting = [*servers.values(), *([search] if search else [])]
        for local in starting:
            local.plan.program.require()
        await start_all(starting)
        connections: dict[str, Connection] = {}
        for endpoint in endpoints:
            server = _server(endpoint, servers, search)
            clients.append(_client(endpoint, server))
            connections[endpoint.name] = await connect(
                endpoint, clients[-1], server, timeout_s=connect_timeout_s
            )
        yield connections
    finally:
        stop_all([*servers.values(), *([search] if search else [])])
        for client in clients:
            await client.close()
        shutil.rmtree(folder, ignore_errors=True)


def _server(
    endpoint: Endpoint, servers: Mapping[Path, LocalServer], search: LocalServer | None
) -> LocalServer | None:
    """The process of ours that an endpoint needs: of its checkpoint, or of its searches."""
    if endpoint.checkpoint is not None:
        return servers[endpoint.checkpoint_folder()]
    return search if endpoint.external and endpoint.retrieval else None


def _client(endpoint: Endpoint, server: LocalServer | None) -> ModelClient:
    if endpoint.external is None:
        return Client(server.plan.target if server else parse_target(endpoint.address or ""))
    # Here and not at the top: who asks nobody over HTTP does not wait for its library.
    from harness.clients.openai.openai_client import ExternalClient  # noqa: PLC0415

    retriever = RemoteRetriever(server.plan.target.name) if server else None
    return ExternalClient(endpoint.address or "", endpoint.external, retriever)


def _plan_search(folder: Path) -> ServerPlan:
    return ServerPlan(
        label="the search service",
        program=SEARCH_SERVER,
        target=parse_target(f"unix:{folder}/search.sock"),
        log=folder / "search.log",
    )


def _plan_models(
    endpoints: Iterable[Endpoint], program: Program, folder: Path
) -> dict[Path, ServerPlan]:
    """One server on a Unix socket for each checkpoint folder that the endpoints name."""
    return plan_models(
        endpoints,
        lambda number, endpoint: ServerPlan(
            label=f"{endpoint.name} ({endpoint.checkpoint})",
            program=program,
            arguments=(str(endpoint.checkpoint_folder()),),
            target=parse_target(f"unix:{folder}/{number}.sock"),
            log=folder / f"{number}.log",
        ),
    )


async def start_all(servers: Iterable[LocalServer]) -> None:
    """Starts them side by side.

    Once all have come up or failed, raises InputError where only refusals were in the way, else
    UnreachableError; either tells of every one that failed.
    """
    results = await asyncio.gather(*(server.start() for server in servers), return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    for failure in failures:
        if len(failures) == 1 or not isinstance(failure, HarnessError):
            raise failure
    if failures:
        refused = all(isinstance(failure, InputError) for failure in failures)
        raise (InputError if refused else UnreachableError)("\n".join(map(str, failures)))


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
