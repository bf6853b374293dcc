"""Two sides of a comparison: each sample with its own twin, cell by cell."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from harness.errors import InputError
from harness.reports.sides import Side
from harness.runs.cell import Cell
from harness.runs.judging import lenient_judge
from harness.runs.results import finite
from harness.runs.stored_samples import read_samples
from harness.sample import Address
from harness.scoring.holm import holm
from harness.scoring.paired import Paired, difference_interval, mcnemar_mid_p


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One row: a cell of the first side with its twin of the second.

    `only_first` etc. of `pairs` are McNemar's counts; `num_unpaired` samples have a completion on
    one side alone, and are not compared.
    """

    first: Cell
    second: Cell
    pairs: Paired
    num_unpaired: int
    # Of the pairs, so many are right to the lenient verdict; None where a side has none.
    lenient_first: int | None = None
    lenient_second: int | None = None
    # Adjusted for all rows of the comparison.
    p_holm: float = 1.0

    @property
    def p(self) -> float:
        """Of this row alone."""
        return mcnemar_mid_p(self.pairs.only_first, self.pairs.only_second)

    def as_json(self) -> dict[str, Any]:
        """The figures of the row."""
        pairs = self.pairs
        row = {
            "task": self.first.task,
            "size": self.first.size,
            "task_parameters": self.first.parameters,
            "first": _side_json(self.first),
            "second": _side_json(self.second),
            "n": pairs.n,
            "accuracy_first": _share(pairs.both + pairs.only_first, pairs.n),
            "accuracy_second": _share(pairs.both + pairs.only_second, pairs.n),
            "difference": pairs.difference,
            "ci95": list(difference_interval(pairs)),
            "only_first": pairs.only_first,
            "only_second": pairs.only_second,
            "p": self.p,
            "p_holm": self.p_holm,
            "unpaired": self.num_unpaired,
            "lenient_accuracy_first": _share(self.lenient_first, pairs.n),
            "lenient_accuracy_second": _share(self.lenient_second, pairs.n),
        }
        return {key: finite(value) for key, value in row.items()}


def compare(first: Side, second: Side) -> list[Comparison]:
    """What both were asked; what one side lacks is left out.

    Raises InputError naming what differs, where they share nothing or their samples differ.
    """
    twins = _twins(first, second)
    left = _outcomes(first, {cell.key for cell, _ in twins})
    right = _outcomes(second, {cell.key for _, cell in twins})
    differences = _sample_differences(first, second, left, right)
    if differences:
        raise _refused(first, second, differences)
    rows = [
        _comparison(one, other, left.get(one.key, {}), right.get(other.key, {}))
        for one, other in twins
    ]
    adjusted = holm([row.p for row in rows])
    return [replace(row, p_holm=p) for row, p in zip(rows, adjusted, strict=True)]


class Outcome(NamedTuple):
    """Of a sample: whether it is right, the target that says so, and whether leniently."""

    is_right: bool
    target: str
    is_lenient: bool | None


# By cell and address.
Outcomes = dict[str, dict[str, Outcome]]


def _twins(first: Side, second: Side) -> list[tuple[Cell, Cell]]:
    """Cells of one task and size: of the same way where there is one, else the only ones."""
    twins: list[tuple[Cell, Cell]] = []
    lacking, differences = [], []
    questions = dict.fromkeys((c.task_label, c.size) for c in [*first.cells, *second.cells])
    for task, size in questions:
        left, right = (
            {c.way.name: c for c in side.cells if (c.task_label, c.size) == (task, size)}
            for side in (first, second)
        )
        shared = [way for way in left if way in right]
        if shared:
            twins += [(left[way], right[way]) for way in shared]
        elif not left or not right:
            lacking.append(f"{task} size {size}: only in the {'first' if left else 'second'}")
        elif len(left) == len(right) == 1:
            twins += zip(left.values(), right.values(), strict=True)
        else:
            differences.append(
                f"{task} size {size}: asked as {' or '.join(left)}, and as {' or '.join(right)}; "
                "choose with RUN:ENDPOINT:WAY"
            )
    if differences or not twins:
        raise _refused(first, second, differences or lacking)
    return twins


def _outcomes(side: Side, cells: set[str]) -> Outcomes:
    found: Outcomes = {}
    wording = side.manifest.wording
    judges = {cell.key: lenient_judge(cell, wording(cell.task)) for cell in side.cells}
    for record in read_samples(side.folder, side.manifest):
        # Of a sample that was asked several times the first counts: twins are of one question.
        if record.cell in cells and not record.repeat:
            judge = judges[record.cell]
            is_lenient = None if judge is None else judge(record)
            outcome = Outcome(record.is_correct, record.target, is_lenient)
            found.setdefault(record.cell, {})[record.address] = outcome
    return found


def _sample_differences(first: Side, second: Side, left: Outcomes, right: Outcomes) -> list[str]:
    """What of the addresses, and of the targets behind them, is not the same."""
    options = (first.manifest.options, second.manifest.options)
    differences = [
        f"{name}: {was} and {now}"
        for name in ("seed", "samples")
        if (was := getattr(options[0], name)) != (now := getattr(options[1], name))
    ]
    parameters = [_parameters(outcomes) for outcomes in (left, right)]
    differences += [
        f"{task}, {name}: {parameters[0][task, name]} and {value}"
        for (task, name), value in parameters[1].items()
        if parameters[0].get((task, name), value) != value
    ]
    targets = {a: target for samples in left.values() for a, (_, target, _) in samples.items()}
    changed = [
        address
        for samples in right.values()
        for address, (_, target, _) in samples.items()
        if targets.get(address, target) != target
    ]
    if changed:
        differences.append(f"{len(changed)} samples have another target, {changed[0]} first")
    return differences


def _parameters(outcomes: Outcomes) -> dict[tuple[str, str], str]:
    """(task, parameter) to its values, sizes apart, which the cells tell."""
    found: dict[tuple[str, str], set[int]] = {}
    for samples in outcomes.values():
        for key in list(samples)[:1]:
            address = Address.from_key(key)
            for name, value in address.parameters:
                if name != "size":
                    found.setdefault((address.task, name), set()).add(value)
    return {key: ", ".join(map(str, sorted(values))) for key, values in found.items()}


def _comparison(
    first: Cell,
    second: Cell,
    left: dict[str, Outcome],
    right: dict[str, Outcome],
) -> Comparison:
    shared = left.keys() & right.keys()
    outcomes = [(left[address].is_right, right[address].is_right) for address in shared]
    return Comparison(
        first=first,
        second=second,
        pairs=Paired(
            both=outcomes.count((True, True)),
            only_first=outcomes.count((True, False)),
            only_second=outcomes.count((False, True)),
            neither=outcomes.count((False, False)),
        ),
        num_unpaired=len(left.keys() ^ right.keys()),
        lenient_first=_num_lenient(left[address] for address in shared),
        lenient_second=_num_lenient(right[address] for address in shared),
    )


def _num_lenient(outcomes: Iterable[Outcome]) -> int | None:
    verdicts = [outcome.is_lenient for outcome in outcomes]
    return None if None in verdicts else sum(map(bool, verdicts))


def _refused(first: Side, second: Side, differences: list[str]) -> InputError:
    lines = "\n".join(f"  {line}" for line in differences)
    return InputError(
        f"{first.manifest.run} ({first.endpoint}) and {second.manifest.run} ({second.endpoint}) "
        f"were not asked the same samples; what differs:\n{lines}"
    )


def _share(count: int | None, n: int) -> float | None:
    return count / n if n and count is not None else None


def _side_json(cell: Cell) -> dict[str, Any]:
    return {
        "endpoint": cell.endpoint,
        "prompting": cell.prompting.value,
        "retrieval": cell.retrieval.value if cell.retrieval else None,
        "style": cell.style.value,
        "reading": cell.reading.value,
        "filler": cell.filler,
        "search": cell.search.value if cell.retrieval else None,
    }
