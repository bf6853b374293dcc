"""What a worker does with its shard, without Ray."""

from dataclasses import replace
from typing import Any

import pytest

from harness.cluster.shard_task import SampleDone, SessionBegun, SessionEnded, ShardTask, work
from harness.fleet.plans import Program
from harness.runs.key_set import KeySet
from harness.runs.shard import Shard

from ..session_plans import session_plan


@pytest.fixture
def task(workplace: Any) -> ShardTask:
    """Every second one of six samples."""
    plan = session_plan(
        samples=6, concurrency=2, checkpoint="rnn", folders=(workplace.folder,), options={}
    )
    plan = replace(
        plan,
        options=replace(plan.options, shard=Shard(1, 2)),
        model_server=Program(module="harness.fakes.fake_server"),
    )
    return ShardTask(run="run", plan=plan, done=KeySet())


def test_all_of_the_shard_is_told_between_its_beginning_and_its_end(task: ShardTask) -> None:
    told = [one for batch in work(task) for one in batch]
    [begun] = [one for one in told if isinstance(one, SessionBegun)]
    done = [one for one in told if isinstance(one, SampleDone)]
    assert begun.manifest.options.shard == Shard(1, 2)
    assert told.index(begun) < told.index(done[0])
    assert sorted(int(one.key[1].rpartition("=")[2]) for one in done) == [1, 3, 5]
    assert told[-1] == SessionEnded(None)


def test_what_is_stored_is_not_asked_again(task: ShardTask) -> None:
    keys = [one.key for batch in work(task) for one in batch if isinstance(one, SampleDone)]
    again = replace(task, done=KeySet(keys[:2]))
    left = [one.key for batch in work(again) for one in batch if isinstance(one, SampleDone)]
    assert left == keys[2:]


def test_a_worker_that_nobody_listens_to_stops_its_servers(task: ShardTask, workplace: Any) -> None:
    workplace.script(hang_from_call=1)
    telling = work(task)
    while not any(isinstance(one, SessionBegun) for one in next(telling)):
        pass
    assert workplace.fakes_running()
    telling.close()
    assert not workplace.fakes_running()


def test_a_worker_of_another_version_says_which(task: ShardTask) -> None:
    [[ended]] = work(replace(task, version="0.0.1"))
    assert "ours 0.0.1: install the same on all" in str(ended.failure)
