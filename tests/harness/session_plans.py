"""What a session of a test is to do: assoc_recall, asked of one endpoint named far."""

from typing import Any

from harness.clients.clock import Clock
from harness.endpoints.endpoint import Endpoint
from harness.fleet.plans import MODEL_SERVER
from harness.runner.session import SessionPlan
from harness.runs.run_options import RunOptions

from .clients.virtual_time import instant_clock

RULES_DECIDE = dict.fromkeys(("prompting", "style", "retrieval", "max_new_tokens"))


def session_plan(
    *,
    samples: int,
    concurrency: int,
    size: int = 4,
    deadline_s: float = 600,
    clock: Clock | None = None,
    options: dict[str, Any] | None = None,
    **endpoint: Any,
) -> SessionPlan:
    """`options`: of RunOptions. All other fields are the endpoint's."""
    return SessionPlan(
        options=RunOptions(
            endpoint=("far",),
            task=("assoc_recall",),
            size=(size,),
            samples=samples,
            seed=0,
            **{**RULES_DECIDE, **(options or {})},  # type: ignore[arg-type]
        ),
        endpoints=(Endpoint(name="far", **endpoint),),
        concurrency=concurrency,
        deadline_s=deadline_s,
        model_server=MODEL_SERVER,
        clock=clock or instant_clock(),
        connect_timeout_s=600,
    )
