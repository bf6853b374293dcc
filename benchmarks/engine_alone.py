"""Tokens per second of the bare engine: no text, no process, no messages.

`python -m benchmarks.engine_alone [CHECKPOINT ...]`; `--profile`: the shares of the time as well.
"""

import argparse
import cProfile
import pstats
import random
import statistics
import time
from pathlib import Path

import torch

from benchmarks.serving import Measured
from harness_servers.checkpoints.checkpoint import load_checkpoint
from harness_servers.engine.engine import Engine
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.freed_memory import keep_freed_memory
from harness_servers.generation import Sampling
from harness_servers.models.protocol import SequenceModel
from harness_servers.token_source import Closing, Opening

_DEFAULT_CHECKPOINTS = [Path("checkpoints/ssm"), Path("checkpoints/rnn")]


def make_openings(model: SequenceModel, number: int, options: argparse.Namespace) -> list[Opening]:
    """Lengths evenly spaced; other tokens in every round, so that no prefix is known."""
    drawn = random.Random(number)
    last = max(1, options.sequences - 1)
    step = (options.longest - options.shortest) / last
    return [
        Opening(
            sequence_id=row,
            token_ids=drawn.choices(
                range(model.vocabulary_size), k=options.shortest + int(row * step)
            ),
            sampling=Sampling(temperature=options.temperature, seed=row),
            max_new_tokens=options.max_new_tokens,
            top_log_probs=options.top_log_probs,
        )
        for row in range(options.sequences)
    ]


def run_round(engine: Engine, openings: list[Opening]) -> tuple[float, float]:
    """Seconds until all have their first token, and until all have all."""
    began = time.perf_counter()
    engine.take(openings)
    num_told = 0
    first_s = 0.0
    is_first = dict.fromkeys(range(len(openings)), True)
    while engine.has_work:
        engine.step()
        news = engine.take_news()
        for chunk in news.chunks if news else ():
            num_told += len(chunk.token_ids)
            if chunk.token_ids and is_first.pop(chunk.sequence_id, False) and not is_first:
                first_s = time.perf_counter() - began
    seconds = time.perf_counter() - began
    if num_told != sum(opening.max_new_tokens for opening in openings):
        raise RuntimeError(f"{num_told} tokens were told of")
    engine.take([Closing(sequence_id=opening.sequence_id) for opening in openings])
    return first_s, seconds


class EngineAlone:
    """The bare engine on this thread, beside other engines: see benchmarks/decode.py."""

    def __init__(self, model: SequenceModel, num_slots: int, threads: int | None) -> None:
        self._engine = Engine(model, EngineOptions(num_slots=num_slots))
        self._engine.runner.warm_up()
        self._engine.runner.share_rows(threads)

    def run(self, prompts: list[list[int]], max_new_tokens: int) -> Measured:
        """All prompts at once, to their ends."""
        openings = [
            Opening(
                sequence_id=row,
                token_ids=prompt,
                sampling=Sampling(),
                max_new_tokens=max_new_tokens,
            )
            for row, prompt in enumerate(prompts)
        ]
        _, seconds = run_round(self._engine, openings)
        num_tokens = len(prompts) * max_new_tokens
        return Measured(
            num_samples=len(prompts), num_tokens=num_tokens, num_searches=0, seconds=seconds
        )

    def close(self) -> None:
        """There is nothing to end."""


def main() -> None:
    """Prints a line for each checkpoint."""
    options = _parse()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    for folder in options.checkpoints:
        model = load_checkpoint(folder).model
        news_ns = int(options.news_ms * 1e6)
        engine = Engine(model, EngineOptions(num_slots=options.sequences, news_interval_ns=news_ns))
        engine.runner.warm_up()
        rounds = []
        profile = cProfile.Profile()
        for number in range(options.repetitions + 1):
            openings = make_openings(model, number, options)
            if options.profile and number == 1:
                profile.enable()
            rounds.append(run_round(engine, openings))
        profile.disable()
        rate = statistics.median(
            options.sequences * options.max_new_tokens / seconds for _, seconds in rounds[1:]
        )
        prefill_s = statistics.median(first_s for first_s, _ in rounds[1:])
        print(f"{folder!s:20} {rate:9,.0f} tokens/s, first tokens after {prefill_s * 1e3:6.1f} ms")
        if options.profile:
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", nargs="*", type=Path, default=_DEFAULT_CHECKPOINTS)
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--shortest", type=int, default=64, help="tokens of the shortest prompt")
    parser.add_argument("--longest", type=int, default=256, help="tokens of the longest prompt")
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--top-log-probs", type=int)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--news-ms", type=float, default=EngineOptions().news_interval_ns / 1e6)
    parser.add_argument("--profile", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
