"""What holds for every test: judged by what is found, not by the clock; Ctrl-C is what it is."""

import random
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# A shell's background job ignores SIGINT, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def wait_until() -> Callable[[Callable[[], object]], None]:
    """Waits for what is due, for as long as the slowest machine may take."""

    def wait(is_so: Callable[[], object]) -> None:
        end = time.monotonic() + 600
        while not is_so():
            assert time.monotonic() < end, "it did not happen"
            time.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def tutorial_task() -> Callable[[str], str]:
    """The task of docs/tutorial-add-a-task.md as its readers write it, under a name.

    Another name than theirs where it is asked from a file: whoever followed the page has a task
    `latest` in the table, and a file's cannot be called so too.
    """
    page = Path(__file__).parents[1] / "docs" / "tutorial-add-a-task.md"
    [code] = [part.partition("\n```")[0] for part in page.read_text().split("```python\n")[1:]]
    own = 'name = "latest"'
    assert code.count(own) == 1
    return lambda name: code.replace(own, f'name = "{name}"') + "\n"


@pytest.fixture(scope="session")
def free_port() -> Callable[..., int]:
    """Finds the first of so many ports in a row that nobody has.

    Below those that the system gives to whoever asks for any: nobody takes them meanwhile.
    """

    def find(num_ports: int = 1) -> int:
        while True:
            first = random.SystemRandom().randrange(10_000, 32_000)
            try:
                for port in range(first, first + num_ports):
                    with socket.socket() as probe:
                        probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first

    return find
