"""What an engine does from its first command to its last, wherever it runs."""

from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from harness_servers.engine.engine import Engine
from harness_servers.token_source import Command, News

# Commands that came together; None: no more will come.
Inbox = SimpleQueue[Sequence[Command] | None]


def run_engine(engine: Engine, inbox: Inbox, post: Callable[[News], None]) -> None:
    """Does what comes in, and posts what there is to be told of it, until None comes in."""

    def is_interrupted() -> bool:
        return not inbox.empty()

    while (commands := _take_commands(engine, inbox)) is not None:
        engine.take(commands)
        _post_news(engine, post)
        engine.step(is_interrupted)
        _post_news(engine, post)


def _post_news(engine: Engine, post: Callable[[News], None]) -> None:
    news = engine.take_news()
    if news is not None:
        post(news)


def _take_commands(engine: Engine, inbox: Inbox) -> list[Command] | None:
    """All that has come in; waits for it where there is nothing else to do."""
    taken: list[Command] = []
    try:
        commands = inbox.get(block=not engine.has_work)
        while commands is not None:
            taken += commands
            commands = inbox.get_nowait()
    except Empty:
        return taken
    return None
