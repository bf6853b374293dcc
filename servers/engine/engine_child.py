"""The life of an engine's process: loads, says what it has loaded, continues tokens."""

import contextlib
import gc
import logging
import signal
import threading
from dataclasses import replace
from multiprocessing.connection import Connection

import torch
from harnessapi.devices import DeviceError
from harnessapi.observing.logs import set_up_logging

from harness_servers.engine.engine import Engine
from harness_servers.engine.engine_loop import Inbox, run_engine
from harness_servers.engine.engine_messages import (
    Died,
    EngineMessage,
    Loaded,
    NotLoaded,
    Told,
    Warm,
    decode_commands,
    encode,
)
from harness_servers.engine.engine_spec import EngineSpec
from harness_servers.engine.freed_memory import keep_freed_memory
from harness_servers.errors import CheckpointError

_log = logging.getLogger(__name__)


def live(connection: Connection, spec: EngineSpec) -> None:
    """Returns when the other side has closed the connection, or after an error, which is told.

    Ctrl-C is for the process in front, which then closes the connection.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    set_up_logging(spec.log_format)
    torch.set_num_threads(spec.threads or 1)
    keep_freed_memory()

    def say(message: EngineMessage) -> None:
        # One who no longer listens has closed the connection, which ends this at its next command.
        with contextlib.suppress(ConnectionError):
            connection.send_bytes(encode(message))

    try:
        hosted = spec.load_model()
    except (CheckpointError, DeviceError) as error:
        say(NotLoaded(str(error)))
        return
    # What start-up made stays: without this a full collection would look at all of it again.
    gc.collect()
    gc.freeze()
    # Of the whole config.json nothing is asked in front; it may have what cannot be sent.
    say(Loaded(hosted.description, replace(hosted.config, raw={})))
    inbox: Inbox = Inbox()
    threading.Thread(target=_read, args=(connection, inbox), name="commands", daemon=True).start()
    try:
        engine = Engine(hosted.model, spec.options)
        engine.runner.warm_up()
        if hosted.has_rows_apart:
            engine.runner.share_rows(spec.threads)
        say(Warm())
        run_engine(engine, inbox, lambda news: say(Told(news)))
    except Exception as error:  # whatever it was, the states can no longer be trusted
        _log.exception("the engine died")
        say(Died(f"the engine died: {error!r}"))


def _read(connection: Connection, inbox: Inbox) -> None:
    """Hands on what comes, until the connection is closed."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            inbox.put(decode_commands(connection.recv_bytes()))
    inbox.put(None)
