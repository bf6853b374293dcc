"""An engine in a process of its own: what it says, and that it ends with the one in front."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harnessapi.values import ModelDescription

from harness_servers.checkpoints.checkpoint import load_checkpoint
from harness_servers.checkpoints.checkpoint_config import parse_config
from harness_servers.engine.engine_messages import Loaded
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.engine_process import EngineProcess, _first_word
from harness_servers.engine.engine_spec import EngineSpec
from harness_servers.engine.engine_thread import EngineThread
from harness_servers.errors import CheckpointError, UnavailableError
from harness_servers.generation import Sampling
from harness_servers.token_source import Closing, Extension, News, Opening, TokenSource

LOAD = "harness_servers.backends.hosted_models:load_own"
# No guard around what it does: a process that it spawns must not import it.
SCRIPT = f"""
import sys, time
from pathlib import Path
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.engine_process import EngineProcess, _first_word
from harness_servers.engine.engine_spec import EngineSpec

print("launching", flush=True)
process = EngineProcess.launch(
    EngineSpec(
        load={LOAD!r},
        folder=Path(sys.argv[1]),
        options=EngineOptions(num_slots=2),
        threads=1,
        max_prompt_tokens=100,
    )
)
print("torch" in sys.modules, process.pid, flush=True)
time.sleep(3600)
"""


def make_spec(folder: Path) -> EngineSpec:
    options = EngineOptions(num_slots=4)
    return EngineSpec(load=LOAD, folder=folder, options=options, threads=1, max_prompt_tokens=100)


def opening(sequence_id: int) -> Opening:
    return Opening(
        sequence_id=sequence_id,
        token_ids=[3, 5, sequence_id],
        sampling=Sampling(temperature=sequence_id / 2, seed=9),
        max_new_tokens=30,
        stop_ids=frozenset(range(0, 800, 40)),
        top_log_probs=2,
    )


async def converse(source: TokenSource) -> list[News]:
    """Four sequences, each extended once; all that was told of them."""
    told: list[News] = []
    paused: asyncio.Queue[int] = asyncio.Queue()

    def listen(news: News) -> None:
        told.append(news)
        for chunk in news.chunks:
            if chunk.is_paused:
                paused.put_nowait(chunk.sequence_id)

    await source.start(listen)
    for sequence_id in range(4):
        source.send(opening(sequence_id))
    extended: set[int] = set()
    for _ in range(8):
        sequence_id = await paused.get()
        if sequence_id in extended:
            source.send(Closing(sequence_id=sequence_id))
        else:
            extended.add(sequence_id)
            source.send(Extension(sequence_id=sequence_id, token_ids=[7] * 11, max_new_tokens=5))
    return told


def by_sequence(told: list[News]) -> tuple[list[list[int]], list[list[float | None]]]:
    """Tokens and log-probabilities, the latter to be compared but for rounding: who was in a batch
    with whom is a matter of time.
    """
    tokens: list[list[int]] = [[] for _ in range(4)]
    log_probs: list[list[float | None]] = [[] for _ in range(4)]
    for news in told:
        for chunk in news.chunks:
            assert [one.token_id for one in chunk.log_probs] == [*chunk.token_ids]
            tokens[chunk.sequence_id] += chunk.token_ids
            log_probs[chunk.sequence_id] += [one.log_prob for one in chunk.log_probs]
    return tokens, log_probs


async def test_a_process_says_what_a_thread_says_until_it_is_killed(lstm_folder: Path) -> None:
    thread = EngineThread(load_checkpoint(lstm_folder).model, EngineOptions(num_slots=4))
    tokens, log_probs = by_sequence(await converse(thread))
    await thread.close()
    process = EngineProcess.launch(make_spec(lstm_folder))
    try:
        assert process.description.num_slots == 4
        assert process.description.family == "RNN"
        # Ctrl-C is for this process, though the terminal tells both.
        os.kill(process.pid, signal.SIGINT)
        told = await converse(process)
        told_tokens, told_log_probs = by_sequence(told)
        assert told_tokens == tokens
        for one, other in zip(told_log_probs, log_probs, strict=True):
            assert one == pytest.approx(other, abs=1e-4)
        # What was sent in one turn came as one, and all of it was begun at once.
        assert [chunk.sequence_id for chunk in told[0].chunks] == [0, 1, 2, 3]
        os.kill(process.pid, signal.SIGKILL)
        assert await process.wait_failed() == "the engine died: its process was ended by SIGKILL"
        process.send(opening(5))
        await asyncio.sleep(0)
    finally:
        await process.close()


async def test_an_engine_that_dies_says_of_what(lstm_folder: Path, capfd) -> None:
    process = EngineProcess.launch(make_spec(lstm_folder))
    try:
        await process.start(lambda news: None)
        for _ in range(2):
            process.send(opening(1))
        why = "the engine died: ValueError('sequence 1 is open')"
        assert await process.wait_failed() == why
    finally:
        await process.close()
    assert "Traceback" in capfd.readouterr().err


async def test_an_engine_on_a_thread_says_of_what_it_died(hash_model, caplog) -> None:
    thread = EngineThread(hash_model, EngineOptions(num_slots=4))
    await thread.start(lambda news: None)
    for _ in range(2):
        thread.send(opening(1))
    why = "the engine died: ValueError('sequence 1 is open')"
    assert await thread.wait_failed() == why
    await thread.close()
    assert "the engine died" in caplog.text


def test_what_is_wrong_with_a_checkpoint_is_said_here(lstm_folder: Path) -> None:
    (lstm_folder / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"checkpoint .*small: tokenizer.json is missing"):
        EngineProcess.launch(make_spec(lstm_folder))


@pytest.fixture
def half_a_word():
    """A process that has ended, and a pipe on which it said the beginning of something."""
    process = multiprocessing.get_context("spawn").Process(target=os._exit, args=(3,))
    process.start()
    ours, theirs = multiprocessing.Pipe()
    os.write(theirs.fileno(), b"\0\0\1\0abc")
    theirs.close()
    yield process, ours
    ours.close()
    process.join()


def test_a_process_that_dies_while_it_says_what_it_loaded_is_a_checkpoint_error(
    half_a_word, lstm_folder: Path
) -> None:
    process, connection = half_a_word
    with pytest.raises(CheckpointError, match="the process that loads it ended with exit code 3"):
        _first_word(connection, process, make_spec(lstm_folder))


async def test_a_process_that_dies_in_the_middle_of_its_news_is_dead_and_nothing_more(
    half_a_word, config: dict[str, object], caplog
) -> None:
    process, connection = half_a_word
    loaded = Loaded(ModelDescription(name="m", family="RNN"), parse_config(config))
    engine = EngineProcess(process, connection, loaded)
    with pytest.raises(UnavailableError, match="its process ended with exit code 3"):
        await engine.start(lambda news: None)
    await engine.close()
    assert caplog.text == ""


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def launch_script(tmp_path: Path, lstm_folder: Path):
    """Runs SCRIPT in a session of its own, up to its first word."""
    script = tmp_path / "front.py"
    script.write_text(SCRIPT)
    root = Path(__file__).parents[3]
    paths = os.pathsep.join(map(str, (root, root / "proto", root / ".names")))
    front = subprocess.Popen(
        [sys.executable, str(script), str(lstm_folder)],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert front.stdout.readline() == "launching\n"
    yield front
    front.kill()
    front.communicate()


def test_it_ends_with_a_parent_that_is_killed_and_that_has_no_torch(
    launch_script, wait_until: Callable[[Callable[[], object]], None]
) -> None:
    has_torch, _, pid = launch_script.stdout.readline().strip().partition(" ")
    assert has_torch == "False"
    assert is_running(int(pid))
    launch_script.kill()
    wait_until(lambda: not is_running(int(pid)))


@pytest.mark.parametrize("is_loaded", [False, True])
def test_ctrl_c_leaves_no_process(
    launch_script, wait_until: Callable[[Callable[[], object]], None], is_loaded: bool
) -> None:
    if is_loaded:
        launch_script.stdout.readline()
    # That of the engine, and one of multiprocessing's own.
    wait_until(lambda: len(children(launch_script.pid)) == 2)
    pids = children(launch_script.pid)
    # As a terminal does.
    os.killpg(launch_script.pid, signal.SIGINT)
    _, said = launch_script.communicate()
    assert launch_script.returncode == -signal.SIGINT
    assert said.count("Traceback") == 1
    wait_until(lambda: not any(is_running(pid) for pid in pids))
