import html
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from harness.reports.svg import join, tag, visible


class Reader(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@given(st.text())
def test_no_text_becomes_markup(text: str) -> None:
    for made in (tag("p", text), tag("p", [[text]])):
        assert Reader(made).tags == ["p"]
        assert html.unescape(made) == f"<p>{visible(text)}</p>"


@given(st.text())
def test_no_text_leaves_its_attribute(text: str) -> None:
    read = Reader(tag("p", "x", title=text))
    assert read.tags == ["p"]
    assert [name for name, _ in read.attributes] == ["title"]


def test_printable_text_stays_what_it_is() -> None:
    assert Reader(tag("p", "</script><img onerror=x> & \"q\" 'ü'")).texts == [
        "</script><img onerror=x> & \"q\" 'ü'"
    ]


def test_controls_and_half_characters_are_made_visible() -> None:
    assert visible("a\x00\x1b\u202e\ud800\nb") == "a␀␛��\nb"
    assert tag("p", "\ud800").encode()


def test_markup_is_not_escaped_twice() -> None:
    assert join(tag("b", "<"), "<") == "<b>&lt;</b>&lt;"
    assert isinstance(join("x"), Markup)


def test_attributes_have_their_names_and_may_be_left_out() -> None:
    made = tag("path", class_="a", stroke_width=1.25, viewBox="0", id=None)
    assert made == '<path class="a" stroke-width="1.2" viewBox="0"></path>'
