"""What a run that goes on has to have in common with how it began, and what it may gain."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from harness.endpoints.endpoint import Endpoint
from harness.endpoints.external import Api
from harness.errors import InputError
from harness.runs.manifest import EndpointRecord, Manifest
from harness.tasks.foreign import TaskSource

# What decides an answer of a server of ours.
_SERVED: Final = ("checkpoint_digest", "tokenizer_digest", "state_bits", "cache_policy")
# What there is to compare of a server that has no digests.
_NAMES: Final = ("name", "engine")


def as_begun(endpoint: Endpoint, stored: Manifest) -> Endpoint:
    """Asked in the form that the run has, where endpoints.toml names none: the default was another.

    A run that does not say is of a time when messages were one.
    """
    found = [one.api for one in stored.endpoints if one.name == endpoint.name]
    if not found or endpoint.api is not None:
        return endpoint
    began = found[0] or (Api.CHAT if endpoint.external else None)
    if began is None or began not in {*Api}:
        return endpoint
    api = Api(began)
    if endpoint.external is None:
        return replace(endpoint, api=api)
    return replace(endpoint, external=replace(endpoint.external, api=api))


def manifest_changes(stored: Manifest, planned: Manifest) -> dict[str, Any]:
    """The fields of the stored manifest that change where endpoints join that were away before.

    An endpoint that is away now keeps what the run has of it. Raises InputError listing what is
    no longer what the run began with.
    """
    if differences := manifest_differences(stored, planned):
        raise resume_refused(stored.run, differences)
    return joined_fields(stored, planned)


def joined_fields(stored: Manifest, planned: Manifest) -> dict[str, Any]:
    """What changes in the stored one where the other has endpoints that were away; or nothing."""
    was = {one.name for one in stored.endpoints}
    if was >= {one.name for one in planned.endpoints}:
        return {}
    parts = [(name, stored if name in was else planned) for name in stored.options.endpoint]
    return {
        "endpoints": [one for name, part in parts for one in part.endpoints if one.name == name],
        "cells": [one for name, part in parts for one in part.cells if one.endpoint == name],
        "refused": [one for name, part in parts for one in part.refused if one.endpoint == name],
        "examples": {**planned.examples, **stored.examples},
    }


def spending_changes(
    stored: Manifest, planned: Manifest, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """With `changes` of the stored manifest, what is spent by from now on: limits and prices."""
    now = {one.name: one.prices for one in planned.endpoints}
    endpoints = changes.get("endpoints", stored.endpoints)
    priced = [replace(one, prices=now.get(one.name, one.prices)) for one in endpoints]
    found = {**changes}
    if priced != [*endpoints]:
        found["endpoints"] = priced
    if planned.limits != stored.limits:
        found["limits"] = planned.limits
    return found


def manifest_differences(stored: Manifest, planned: Manifest) -> list[str]:
    """A line for each thing that would give other samples or answers, of what both have."""
    was, now = ({one.name: one for one in m.endpoints} for m in (stored, planned))
    return _model_differences(was, now) + _cell_differences(stored, planned)


def resume_refused(run: str, differences: Sequence[str]) -> InputError:
    """The error that lists why a run cannot go on."""
    lines = "\n".join(f"  {line}" for line in sorted(differences))
    return InputError(f"run {run} cannot be resumed like this; what differs:\n{lines}")


def source_differences(was: Mapping[str, TaskSource], now: Mapping[str, TaskSource]) -> list[str]:
    """Of tasks that are not ours; where a file lies is no difference."""
    lines = []
    for name, stored in was.items():
        found = now.get(name)
        if found is None:
            lines.append(f"task {name}: the run asks that of {stored.told}, and now it is ours")
        elif (stored.sha256, stored.package) != (found.sha256, found.package):
            lines.append(
                f"task {name}: the run asks that of {_version(stored)}, now it is {_version(found)}"
                ": its samples may be others"
            )
    return lines


def _version(source: TaskSource) -> str:
    return f"{source.told} (SHA-256 {source.sha256[:12]})"


def _cell_differences(stored: Manifest, planned: Manifest) -> list[str]:
    """Of the endpoints that were there when the run began, and are there now."""
    both = {one.name for one in stored.endpoints} & {one.name for one in planned.endpoints}
    was, now = (
        {cell.key: cell for cell in m.cells if cell.endpoint in both} for m in (stored, planned)
    )
    return [
        *(f"cell {key}: only in the run" for key in was.keys() - now.keys()),
        *(f"cell {key}: not in the run" for key in now.keys() - was.keys()),
        *(
            f"cell {key}: the run has {name} {before}, now it would be {after}"
            for key in was.keys() & now.keys()
            for name in ("max_new_tokens", "samples")
            if (before := getattr(was[key], name)) != (after := getattr(now[key], name))
        ),
    ]


def _model_differences(
    was: Mapping[str, EndpointRecord], now: Mapping[str, EndpointRecord]
) -> list[str]:
    both = [(name, was[name], record) for name, record in now.items() if name in was]
    return (
        [
            f"endpoint {name}, {key}: the run has {before}, now it is {after}"
            for name, stored, record in both
            for key in (*_SERVED, *(() if record.model.checkpoint_digest else _NAMES))
            if (before := getattr(stored.model, key)) != (after := getattr(record.model, key))
        ]
        + [
            f"endpoint {name}, request: the run has {stored.request}, now it is {record.request}"
            for name, stored, record in both
            if stored.request != record.request
        ]
        + [
            f"endpoint {name}, api: the run has {stored.api}, now it is {record.api}"
            for name, stored, record in both
            if stored.api not in {None, record.api}
        ]
    )
