"""What the checks of a cell's searches come to, added up one completion at a time."""

from typing import Any

from harness.clients.completion import Completion


class CheckedSearches:
    """Nothing is claimed where no completion has a check."""

    def __init__(self) -> None:
        self._has_checks = False
        self._num_disagreements = 0
        self._num_unchecked = 0

    def add(self, completion: Completion) -> None:
        """Counts one completion."""
        check = completion.search_check
        if check is not None:
            self._has_checks = True
            self._num_disagreements += check.num_disagreements
            self._num_unchecked += check.num_unchecked

    def fields(self) -> dict[str, Any]:
        """As the metrics of a cell have them."""
        return {
            "search_disagreements": self._num_disagreements if self._has_checks else None,
            "searches_unchecked": self._num_unchecked if self._has_checks else None,
        }
