import pytest
from harnessapi.values import Mode

from harness.errors import HarnessError
from harness.runs.cell import Cell
from harness.tasks import TASKS
from harness.way import Prompting, Reading, SearchArm, Style, Way

NAMES = {
    "direct": Way(),
    "cot": Way(prompting=Prompting.COT),
    "search dense": Way(prompting=Prompting.SEARCH, retrieval=Mode.DENSE),
    "search regex": Way(prompting=Prompting.SEARCH, retrieval=Mode.REGEX),
    "direct natural": Way(style=Style.NATURAL),
    "search dense natural": Way(
        prompting=Prompting.SEARCH, retrieval=Mode.DENSE, style=Style.NATURAL
    ),
    "direct twice filler=32": Way(reading=Reading.TWICE, filler=32),
    "search regex lying": Way(
        prompting=Prompting.SEARCH, retrieval=Mode.REGEX, search=SearchArm.LYING
    ),
    "search dense natural question-first filler=1 empty": Way(
        prompting=Prompting.SEARCH,
        retrieval=Mode.DENSE,
        style=Style.NATURAL,
        reading=Reading.QUESTION_FIRST,
        filler=1,
        search=SearchArm.EMPTY,
    ),
}


@pytest.mark.parametrize(("name", "way"), NAMES.items())
def test_a_way_has_one_name_which_is_read_back(name: str, way: Way) -> None:
    assert way.name == name
    assert Way.parse(name) == way


@pytest.mark.parametrize("task", TASKS)
def test_every_way_of_every_task_is_read_back(task: str) -> None:
    for style in Style:
        ways = TASKS[task].ways(style)
        assert [Way.parse(way.name) for way in ways] == list(ways)
        assert len(set(ways)) == len(ways) > 0


@pytest.mark.parametrize(
    "text",
    [
        *("regex", "search", "natural", "dense search", "Direct", ""),
        # The usual goes without saying, the rest in its order, and a lie is a search's.
        *("direct once", "direct filler=0", "direct filler=07", "direct filler=-1", "twice direct"),
        *("direct filler=2 twice", "direct lying", "search dense honest", "direct filler="),
    ],
)
def test_another_text_is_no_way_and_the_error_lists_those_that_are(text: str) -> None:
    with pytest.raises(HarnessError, match=f"unknown way '{text}'.*search dense natural"):
        Way.parse(text)


def test_a_search_is_of_some_kind() -> None:
    with pytest.raises(HarnessError, match="regex or dense"):
        Way(prompting=Prompting.SEARCH)


def test_an_arm_has_a_search_to_be_of_and_a_number_of_words() -> None:
    with pytest.raises(HarnessError, match="search empty: prompting cot makes no search"):
        Way(prompting=Prompting.COT, search=SearchArm.EMPTY)
    with pytest.raises(HarnessError, match="filler -1"):
        Way(filler=-1)


def test_the_words_of_a_way_say_the_usual_too() -> None:
    assert Way.parse("cot twice").words == {"cot", "symbolic", "twice", "filler=0"}
    honest = {"search", "dense", "symbolic", "once", "filler=0", "honest"}
    assert Way.parse("search dense").words == honest


def cell(way: Way, **parameters: int) -> Cell:
    return Cell(
        endpoint="rnn",
        task="needle",
        size=16,
        prompting=way.prompting,
        retrieval=way.retrieval,
        style=way.style,
        max_new_tokens=9,
        parameters=parameters,
        reading=way.reading,
        filler=way.filler,
        search=way.search,
    )


def test_the_key_of_a_cell_has_its_way_and_the_parameters_that_were_given() -> None:
    assert cell(Way.parse("search regex")).key == "rnn/needle/size=16/search/regex/symbolic"
    natural = cell(Way.parse("direct natural"), values=2, keys=4)
    assert natural.key == "rnn/needle/keys=4,size=16,values=2/direct/none/natural"
    assert natural.way == Way.parse("direct natural")


def test_the_arm_of_a_cell_is_the_end_of_its_key() -> None:
    way = Way.parse("search regex twice filler=8 lying")
    key = "rnn/needle/size=16/search/regex/symbolic/twice/filler=8/lying"
    assert cell(way).key == key
    assert cell(way).way == way


def test_a_cell_is_labelled_with_the_parameters_that_were_given() -> None:
    assert cell(Way()).task_label == "needle"
    assert cell(Way(), values=2, keys=4).task_label == "needle keys=4 values=2"
    assert cell(Way(), keys=4) != cell(Way(), keys=5)
