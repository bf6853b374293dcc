"""What `harness up` would start, without starting it."""

from pathlib import Path

from harness.endpoints.endpoint import Endpoint
from harness.fleet.plans import MODEL_SERVER
from harness.fleet.standing_fleet import plan_standing_fleet


def test_the_log_of_an_endpoint_lies_in_the_folder_whatever_its_name(tmp_path: Path) -> None:
    names = ("org/model", "../../model", "/model", "..")
    endpoints = [
        Endpoint(name=name, checkpoint=str(number), folders=(tmp_path,))
        for number, name in enumerate(names)
    ]
    for endpoint in endpoints:
        (tmp_path / str(endpoint.checkpoint)).mkdir()
    fleet = plan_standing_fleet(
        endpoints, MODEL_SERVER, tmp_path, host="127.0.0.1", port=1, say=lambda _text: None
    )
    logs = [server.plan.log for server in fleet.models.values()]
    assert {log.parent for log in logs} == {tmp_path}
    assert len(set(logs)) == len(names)
