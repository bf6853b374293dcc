"""A model's description as the message of GetModel, and back: the names are the same."""

from dataclasses import asdict, fields
from typing import Any, Final

from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.rpc.enums import MODES
from harnessapi.values import Markers, ModelDescription, TrainedBy, TrainedOn

_APART: Final = {"family", "markers", "modes", "trained_on", "trained_by"}
_TOLD: Final = pb.GetModelResponse.DESCRIPTOR.fields_by_name
_SAME: Final = tuple(f.name for f in fields(ModelDescription) if f.name in {*_TOLD} - _APART)
_MAY_MISS: Final = ("context_limit", "max_top_log_probs")
_FAMILY: Final = "MODEL_FAMILY_"


def description_to_wire(model: ModelDescription) -> pb.GetModelResponse:
    """Raises ValueError for a family that the wire does not know."""
    same: dict[str, Any] = {name: getattr(model, name) for name in _SAME}
    channel = None
    if model.markers is not None:
        channel = pb.SearchChannel(
            start_marker=model.markers.start,
            end_marker=model.markers.end,
            failed_text=model.markers.failed,
            passage_separator=model.markers.passage_separator,
            modes=[MODES.number(mode) for mode in model.modes],
            takes_searched_text=model.takes_searched_text,
        )
    family = pb.ModelFamily.Value(f"{_FAMILY}{model.family}")
    trained_on = [pb.TrainedOn(**asdict(one)) for one in model.trained_on]
    trained_by = None if model.trained_by is None else pb.TrainedBy(**asdict(model.trained_by))
    return pb.GetModelResponse(
        family=family,
        search_channel=channel,
        trained_on=trained_on,
        trained_by=trained_by,
        **same,
    )


def description_from_wire(message: pb.GetModelResponse) -> ModelDescription:
    """What a server of ours, or one like it, says; modes that are not known here are left out."""
    same: dict[str, Any] = {name: getattr(message, name) for name in _SAME}
    same |= {"styles": tuple(message.styles), "trained_tasks": tuple(message.trained_tasks)}
    same |= {name: None for name in _MAY_MISS if not message.HasField(name)}
    channel = message.search_channel
    known = (MODES.member(number) for number in channel.modes)
    return ModelDescription(
        family=pb.ModelFamily.Name(message.family).removeprefix(_FAMILY),
        markers=_markers(channel) if message.HasField("search_channel") else None,
        modes=tuple(mode for mode in known if mode is not None),
        trained_on=tuple(
            TrainedOn(task=one.task, way=one.way, contexts=one.contexts)
            for one in message.trained_on
        ),
        trained_by=_trained_by(message.trained_by) if message.HasField("trained_by") else None,
        takes_searched_text=channel.takes_searched_text,
        **same,
    )


def _trained_by(message: pb.TrainedBy) -> TrainedBy:
    return TrainedBy(recipe=message.recipe, model=message.model, seed=message.seed)


def _markers(channel: pb.SearchChannel) -> Markers | None:
    try:
        return Markers(
            start=channel.start_marker,
            end=channel.end_marker,
            failed=channel.failed_text,
            passage_separator=channel.passage_separator,
        )
    except ValueError:
        return None  # its own business: the client runs no channel for it
