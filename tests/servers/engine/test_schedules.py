"""Whatever is asked of the engine in whatever order: every sequence is told what it would be alone.

On a model whose every number is exact, and that answers otherwise to any token more or less.
"""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from harness_servers.engine.engine_options import EngineOptions
from harness_servers.generation import Sampling

TOKENS = st.integers(0, 15)
OPTIONS = EngineOptions(
    num_slots=3,
    prefill_tokens=16,
    min_chunk_tokens=4,
    max_catch_up_tokens=3,
    snapshot_interval=8,
    scored_tokens=5,
    # Of some 25 snapshots.
    prefix_cache_bytes=26_000,
    news_interval_ns=5,
)
SAMPLINGS = st.sampled_from([Sampling(), Sampling(temperature=1.5, top_k=9, top_p=0.95, seed=3)])


@dataclass(kw_only=True)
class Asked:
    """A sequence that is open: what it was opened and extended with."""

    prompt: list[int]
    sampling: Sampling
    stop_ids: frozenset[int]
    turns: list[tuple[list[int], int]] = field(default_factory=list)
    first_scored: int | None = None


@settings(max_examples=60)
@given(data=st.data())
def test_any_schedule(by_hand, alone, score_alone, hash_model, data) -> None:
    follow_schedule(by_hand, alone, score_alone, hash_model, data)


@settings(max_examples=60)
@given(data=st.data())
def test_any_schedule_of_a_model_that_is_told_where_prompts_end(
    by_hand, alone, score_alone, ended_hash_model, data
) -> None:
    follow_schedule(by_hand, alone, score_alone, ended_hash_model, data)


def follow_schedule(by_hand, alone, score_alone, model, data) -> None:
    now = [0]

    def clock() -> int:
        now[0] += 1
        return now[0]

    driver = by_hand(
        model, options=OPTIONS, clock=clock, is_interrupted=lambda: data.draw(st.booleans())
    )
    asked: dict[int, Asked] = {}

    def check(sequence_id: int) -> None:
        told, one = driver.told[sequence_id], asked[sequence_id]
        if one.first_scored is not None:
            expected = score_alone(model, one.prompt, one.first_scored)
            assert told.log_probs == expected[: len(told.log_probs)]
            assert not told.is_paused or len(told.log_probs) == len(expected)
            return
        written = alone(model, one.prompt, one.turns, sampling=one.sampling, stop_ids=one.stop_ids)
        assert told.tokens == written[: len(told.tokens)]
        assert not told.is_paused or len(told.tokens) == len(written)
        assert [log_prob.token_id for log_prob in told.log_probs] == told.tokens

    def draw_open() -> None:
        one = Asked(
            prompt=data.draw(st.lists(TOKENS, min_size=1, max_size=40)),
            sampling=data.draw(SAMPLINGS),
            stop_ids=data.draw(st.frozensets(TOKENS, max_size=2)),
            turns=[([], data.draw(st.integers(1, 12)))],
        )
        if data.draw(st.booleans()):
            one.first_scored = data.draw(st.integers(1, len(one.prompt)))
        sequence_id = driver.open(
            one.prompt,
            sampling=one.sampling,
            stop_ids=one.stop_ids,
            max_new_tokens=one.turns[0][1],
            first_scored=one.first_scored,
            top_log_probs=2,
        )
        asked[sequence_id] = one

    def draw_extension(sequence_id: int) -> None:
        turn = data.draw(st.lists(TOKENS, max_size=12)), data.draw(st.integers(1, 12))
        asked[sequence_id].turns.append(turn)
        driver.extend(sequence_id, *turn)

    for _ in range(data.draw(st.integers(1, 30))):
        can = ["step", "step"]
        if len(asked) < OPTIONS.num_slots:
            can.append("open")
        waiting = [i for i, one in asked.items() if driver.told[i].is_paused]
        if extensible := [i for i in waiting if asked[i].first_scored is None]:
            can.append("extend")
        if asked:
            can.append("close")
        match data.draw(st.sampled_from(can)):
            case "step":
                driver.step()
            case "open":
                draw_open()
            case "extend":
                draw_extension(data.draw(st.sampled_from(extensible)))
            case "close":
                sequence_id = data.draw(st.sampled_from([*asked]))
                check(sequence_id)
                driver.close(sequence_id)
                del asked[sequence_id]
    driver.run()
    for sequence_id in asked:
        assert driver.told[sequence_id].is_paused
        check(sequence_id)
        driver.close(sequence_id)
    assert driver.engine.scheduler.num_free == OPTIONS.num_slots
    assert not driver.engine.has_work
