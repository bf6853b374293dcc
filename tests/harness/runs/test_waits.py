import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.clients.completion import CompletionTimes
from harness.runs.waits import Waits


def fields(*times: CompletionTimes) -> dict[str, float | None]:
    found = Waits()
    for one in times:
        found.add(one)
    return found.fields()


def test_of_what_is_not_stored_nothing_is_said() -> None:
    assert set(fields(CompletionTimes()).values()) == {None}


def test_the_quantiles_are_of_all_samples() -> None:
    found = fields(*(CompletionTimes(ttft_ms=float(ms)) for ms in range(101)))
    assert [found[f"ttft_ms_{name}"] for name in ("p50", "p90", "p99")] == [50, 90, 99]
    assert found["token_interval_ms_p50"] is None


def test_every_token_counts_once_whatever_its_sample() -> None:
    many, few = CompletionTimes(token_intervals={0: 90}), CompletionTimes(token_intervals={80: 10})
    found = fields(many, few)
    assert found["token_interval_ms_p90"] == pytest.approx(1, rel=0.05)
    assert found["token_interval_ms_p99"] == pytest.approx(2**10, rel=0.05)


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_half_is_the_median(ttfts_ms: list[float]) -> None:
    found = fields(*(CompletionTimes(ttft_ms=ms) for ms in ttfts_ms))
    assert found["ttft_ms_p50"] == pytest.approx(statistics.median(ttfts_ms))
