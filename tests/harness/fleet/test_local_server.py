import json
from pathlib import Path

import pytest
from harnessapi.rpc.targets import parse_target

from harness.errors import UnreachableError
from harness.fleet.fleet import stop_all
from harness.fleet.local_server import Health, LocalServer
from harness.fleet.plans import Program, ServerPlan


def say(_text: str, *, is_warning: bool = False) -> None:
    pass


async def test_a_server_that_never_listens_is_not_waited_for_without_end(tmp_path: Path) -> None:
    (tmp_path / "fake.json").write_text(json.dumps({"never_listens": True}))
    plan = ServerPlan(
        label="the fake",
        program=Program(module="harness.fakes.fake_server"),
        arguments=(str(tmp_path),),
        target=parse_target(f"unix:{tmp_path}/fake.sock"),
        log=tmp_path / "fake.log",
        start_timeout_s=0.2,
    )
    server = LocalServer(plan, say)
    try:
        with pytest.raises(UnreachableError, match="the fake was not ready after"):
            await server.start()
        assert server.health is Health.FAILED
    finally:
        stop_all([server])
