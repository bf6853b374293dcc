"""Which split a context belongs to: half of all contexts are each split's, by their text."""

import hashlib

from harness.sample import Split


def split_of(context: str) -> Split:
    """The split of this context, the same in any process."""
    digest = hashlib.blake2b(context.encode(), digest_size=1).digest()
    return Split.TEST if digest[0] & 1 else Split.TRAIN
