"""The cache of prefixes holds no more than it is given, counted by what is really allocated."""

import torch

from harness_servers.engine.pool import StatePool
from harness_servers.engine.prefix_cache import PrefixCache, held_bytes

# As measured: what Python and torch keep of an entry, and of each of its tensors.
MEASURED_ENTRY, MEASURED_TENSOR = 470, 510


def allocated(snapshot: dict[str, torch.Tensor]) -> int:
    """Bytes of the distinct storages, which is what stays in memory of a tensor."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in snapshot.values()}
    return sum(storage.nbytes() for storage in storages.values())


def test_a_snapshot_holds_its_own_numbers_and_none_of_the_pool(model) -> None:
    pool = StatePool(model, 8)
    snapshot = pool.snapshot(3)
    assert allocated(snapshot) == sum(tensor.nbytes for tensor in snapshot.values())
    assert allocated(snapshot) < pool.num_bytes()


def test_what_is_counted_is_what_is_allocated_and_what_goes_with_it(model) -> None:
    snapshot = StatePool(model, 2).snapshot(0)
    beside = held_bytes(snapshot) - allocated(snapshot)
    assert beside >= MEASURED_ENTRY + MEASURED_TENSOR * len(snapshot)


def test_a_view_counts_as_all_that_it_keeps_alive_and_once() -> None:
    whole = torch.zeros(1000)
    views = {"a": whole[:10], "b": whole[10:20]}
    assert held_bytes(views) == held_bytes({"a": whole[:10], "b": torch.zeros(0)})
    assert held_bytes(views) > whole.nbytes


def test_a_cache_of_many_small_snapshots_keeps_to_its_bytes() -> None:
    cache = PrefixCache(max_bytes=100_000)
    kept: dict[bytes, dict[str, torch.Tensor]] = {}
    for number in range(500):
        digest = number.to_bytes(16, "big")
        kept[digest] = {"hidden": torch.zeros(1, 16), "cell": torch.zeros(1, 16)}
        cache.keep(digest, 10, kept[digest])
        there = [one for key, one in kept.items() if not cache.wants(key)]
        assert len(there) == len(cache)
        real = sum(allocated(one) + MEASURED_ENTRY + 2 * MEASURED_TENSOR for one in there)
        assert real <= cache.num_bytes <= 100_000
    assert 0 < len(cache) < 100
