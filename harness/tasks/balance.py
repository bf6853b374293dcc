"""Which target a sample of a balanced task has: as even as any number of samples allows."""

from collections.abc import Sequence

from harness.sample import Address


def wanted_target(address: Address, targets: Sequence[str]) -> str:
    """In every block of as many indices as there are targets each one once, in the block's order.

    So the first n samples of a seed have every target as often, give or take one. A pure function
    of the address.
    """
    block, place = divmod(address.index, len(targets))
    return address.random_of_block(block).sample(targets, len(targets))[place]
