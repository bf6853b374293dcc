"""How the attempt at a promise ends where the promise was not seen to be kept."""


class BrokenPromise(Exception):  # noqa: N818
    """The server does otherwise; the text says what was seen."""


class NotOffered(Exception):  # noqa: N818
    """The server says that it does not have this."""


class NoOccasion(Exception):  # noqa: N818
    """Nothing was learnt, by no fault of the server: the text says why."""
