"""SIGKILL for a server, the search service, the client or a worker of Ray, while a run goes on."""

import importlib.util
import os
import signal
import time
from typing import Final

from benchmarks.chaos.campaign import Check, Setting, SkippedError
from benchmarks.chaos.grid import Client, as_undisturbed, num_faults
from benchmarks.chaos.servers import Fleet, Server, wait_until
from benchmarks.processes import ray_workers

_MOST_BEFORE_S: Final = 2.0


def model_server_killed(setting: Setting) -> list[Check]:
    """A client asks on while its server is killed and started again, again and again."""
    return _server_killed(setting, "model-server-killed", "model", setting.num(20, 2))


def search_service_killed(setting: Setting) -> list[Check]:
    """The same of the search service, behind a model server that stays."""
    return _server_killed(setting, "search-service-killed", "search", setting.num(10, 2))


def client_killed(setting: Setting) -> list[Check]:
    """The client is killed, as it starts and as it asks, and goes on with --resume."""
    rng, folder = setting.random("client-killed"), setting.own_folder("client-killed")
    number = setting.num(20, 2)
    with Fleet(folder) as fleet:
        client, num_killed, run = Client(setting, fleet, folder, "--concurrency", "4"), 0, None
        before = fleet.model.look()
        for count, moment in enumerate(client.moments(rng, number)):
            child = client.start(run=run)
            if count % 4 == 3:
                time.sleep(rng.uniform(0.0, _MOST_BEFORE_S))
            else:
                client.wait_stored(max(moment, client.num_stored() + 1), child)
            num_killed += client.kill(child)
            run = client.run
        status = client.finish(run=run)
        is_idle = wait_until(lambda: fleet.model.said("harness_slots_in_use") == 0)
        after = fleet.model.settled(before)
    return [
        _kills(num_killed, number, "the client"),
        *as_undisturbed(setting, client, status),
        Check(
            what="the server goes on with nothing of a client that is gone",
            is_kept=is_idle,
            figures=f"{after}; before: {before}",
        ),
    ]


def ray_worker_killed(setting: Setting) -> list[Check]:
    """One of two workers of Ray is killed, again and again; another takes its shard."""
    if importlib.util.find_spec("ray") is None:
        raise SkippedError("ray is not installed (recall-harness[ray])")
    rng, folder = setting.random("ray-worker-killed"), setting.own_folder("ray-worker-killed")
    number, num_killed = setting.num(5, 1), 0
    with Fleet(folder) as fleet:
        client = Client(setting, fleet, folder, "--concurrency", "1")
        child = client.start("--executor", "ray", "--workers", "2")
        for moment in client.moments(rng, number):
            if not client.wait_stored(max(moment, client.num_stored() + 1), child):
                break
            os.kill(rng.choice(ray_workers(child.pid)), signal.SIGKILL)
            num_killed += 1
        status = child.wait()
    return [_kills(num_killed, number, "a worker"), *as_undisturbed(setting, client, status)]


def _server_killed(setting: Setting, fault: str, which: str, number: int) -> list[Check]:
    rng, folder = setting.random(fault), setting.own_folder(fault)
    with Fleet(folder) as fleet:
        server: Server = getattr(fleet, which)
        client = Client(setting, fleet, folder, "--concurrency", "4")
        child = client.start()
        num_killed, left, longest_s = 0, [], 0.0
        for moment in client.moments(rng, number):
            if not client.wait_stored(max(moment, client.num_stored() + 1), child):
                break
            left += server.kill()
            began_s = time.monotonic()
            server.start()
            longest_s = max(longest_s, time.monotonic() - began_s)
            num_killed += 1
        status = child.wait()
        num_starts = server.num_starts
    return [
        _kills(num_killed, number, f"the {which} server"),
        Check(
            what="no process of its is left behind by a kill",
            is_kept=not left,
            figures=f"{len(left)} left; {num_starts} starts, the slowest {longest_s:.1f} s; "
            f"{num_faults(client.run)} attempts of the client failed",
        ),
        *as_undisturbed(setting, client, status),
    ]


def _kills(num_killed: int, number: int, whom: str) -> Check:
    return Check(
        what=f"{whom} was killed as it worked",
        is_kept=num_killed == number,
        figures=f"{num_killed} of {number} kills",
    )
