"""Refusals in words that nobody foresaw: each is read as far as it can be."""

import pytest

from harness.clients.context_room import ContextRoom, stated_context
from harness.clients.openai.http_errors import error_text
from harness.sample import Prompt


@pytest.mark.parametrize(
    "detail",
    [
        "This exceeds the context window, please shorten it",
        "too long for the context length: , tokens",
        "resulted in , tokens",
    ],
)
def test_a_refusal_without_a_number_states_no_context(detail: str) -> None:
    room = ContextRoom()
    room.learn(detail, Prompt(text="bab"))
    assert stated_context(detail) is None
    assert room.limit is None


def test_a_comma_beside_a_stated_context_is_no_count_of_the_prompt() -> None:
    room = ContextRoom()
    room.learn("maximum context length is 4,096, input tokens were more", Prompt(text="bab"))
    assert room.limit == 4096


@pytest.mark.parametrize("piece", ["<", "<style ", "<style></style  ", "<style></script>"])
def test_a_megabyte_of_open_tags_is_a_page_without_words(piece: str) -> None:
    # Looked through for each of them it would take hours, and nobody else would be answered.
    assert error_text("<html>" + piece * (2**20 // len(piece))).startswith("it answers with a web")


def test_words_of_a_page_stand_between_its_tags() -> None:
    page = "<html><style>a { b }</style><h1>Not\nfound</h1><script>1 < 2</script>"
    assert error_text(page) == "it answers with a web page: Not found"
