"""`harness endpoints check --conformance`: a line for each promise of the API as it is tried."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import click
from harnessapi.rpc.dialing import IN_THE_CLEAR, Dialing
from harnessapi.rpc.targets import Target, TargetError, parse_target

from harness.cli.dependencies import Dependencies, read_endpoints
from harness.cli.signals import run_until_signal
from harness.clients.grpc_client import Client
from harness.conformance.all_promises import PROMISES
from harness.conformance.kit import hold
from harness.conformance.promise import Finding, Judgement
from harness.endpoints.endpoint import Endpoint
from harness.errors import HarnessError, InputError, printable
from harness.fleet.fleet import open_fleet

_NAME_WIDTH = max(len(promise.name) for promise in PROMISES)
_VERDICT_WIDTH = max(map(len, Judgement))


def check_conformance(
    place: str, endpoints_file: Path | None, given: Dependencies, *, wait_s: float, as_json: bool
) -> bool:
    """Whether the server at an address, or of an endpoint, keeps every promise; prints them.

    Raises InputError, UnreachableError.
    """
    findings: list[Finding] = []

    async def holding() -> None:
        async with _target(place, endpoints_file, given) as (target, dialing):
            found = hold(
                target,
                wait_s=wait_s,
                connect_timeout_s=given.connect_timeout_s,
                dialing=dialing,
            )
            async with aclosing(found):
                async for one in found:
                    findings.append(one)
                    if not as_json:
                        click.echo(_line(one))

    try:
        run_until_signal(holding())
    except HarnessError as error:
        if as_json:
            click.echo(_as_object(place, findings, error))
        raise
    click.echo(_as_object(place, findings, None) if as_json else _sum(findings))
    return not _failed(findings)


@asynccontextmanager
async def _target(
    place: str, endpoints_file: Path | None, given: Dependencies
) -> AsyncIterator[tuple[Target, Dialing]]:
    """Where the server is, and how it is dialled.

    An endpoint that is a checkpoint is started, and stopped at the end.
    """
    known = {one.name: one for one in read_endpoints(endpoints_file).endpoints}
    if place not in known:
        try:
            target = parse_target(place)
        except TargetError as error:
            names = ", ".join(known)
            raise InputError(f"{error}, nor one of the endpoints {names}") from None
        yield target, IN_THE_CLEAR
        return
    endpoint = known[place]
    if endpoint.external is not None:
        raise InputError(
            f"endpoint '{place}' is asked over HTTP; the promises are those of a gRPC server"
        )
    if endpoint.more_addresses:
        raise InputError(
            f"endpoint '{place}' has several addresses: name one of them, {endpoint.place}"
        )
    if endpoint.checkpoint is None:
        try:
            yield parse_target(endpoint.address or ""), endpoint.dialing()
        except InputError as error:
            raise InputError(f"endpoint '{place}': {error}") from None
        return
    async with _started(endpoint, given) as target:
        yield target, IN_THE_CLEAR


@asynccontextmanager
async def _started(endpoint: Endpoint, given: Dependencies) -> AsyncIterator[Target]:
    async with open_fleet(
        [endpoint],
        _say,
        model_server=given.model_server,
        connect_timeout_s=given.connect_timeout_s,
    ) as opened:
        for error in opened.failures.values():
            raise error
        client = opened.connections[endpoint.name].client
        if not isinstance(client, Client):
            raise TypeError(f"endpoint {endpoint.name} is no gRPC server")
        yield client.target


def _say(text: str, *, is_warning: bool = False) -> None:  # noqa: ARG001
    click.echo(printable(text), err=True)


def _failed(findings: list[Finding]) -> list[str]:
    return [one.name for one in findings if one.verdict is Judgement.FAILED]


def _line(one: Finding) -> str:
    line = f"{one.name:<{_NAME_WIDTH}}  {one.verdict:<{_VERDICT_WIDTH}}  {one.seen}"
    return f"{line}; right: {one.right}" if one.verdict is Judgement.FAILED else line


def _sum(findings: list[Finding]) -> str:
    counts = dict.fromkeys(Judgement, 0)
    for one in findings:
        counts[one.verdict] += 1
    told = ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
    failed = _failed(findings)
    return f"{told}: {', '.join(failed)}" if failed else told


def _as_object(place: str, findings: list[Finding], error: HarnessError | None) -> str:
    """One line of JSON, with the exit status."""
    status = "broken" if _failed(findings) else "kept"
    exit_status = 2 if _failed(findings) else 0
    if error is not None:
        status, exit_status = "failed", error.exit_status
    return json.dumps(
        {
            "place": place,
            "status": status,
            "promises": [asdict(one) for one in findings],
            "error": None if error is None else str(error),
            "exit_status": exit_status,
        }
    )
