"""The options of a request, as keys of endpoints.toml and as --request KEY=VALUE."""

from pathlib import Path

import pytest

from harness.endpoints.config import load_endpoints
from harness.endpoints.request_options import RequestOptions, read_request_options
from harness.errors import InputError

WEB = 'address = "https://h/v1"\nmodel = "m"\n'
ALL = """
temperature = 0.5
top_p = 0.9
sampling_seed = 7
system_prompt = "Be brief."
token_limit = "max_completion_tokens"
leave_out = ["stream_options"]
headers = { X-Title = "recall" }
headers_env = { X-Organization = "ORGANIZATION" }
chat_template_kwargs = { enable_thinking = false }
extra_body = { top_k = 20, reasoning = { effort = "low" } }
"""


def load(folder: Path, text: str) -> RequestOptions:
    path = folder / "endpoints.toml"
    path.write_text(f"[far]\n{text}")
    [endpoint] = load_endpoints(path, folder).endpoints
    return endpoint.request


def test_every_option_is_read_from_the_file(tmp_path: Path) -> None:
    assert load(tmp_path, WEB + ALL) == RequestOptions(
        temperature=0.5,
        top_p=0.9,
        sampling_seed=7,
        system_prompt="Be brief.",
        token_limit="max_completion_tokens",
        leave_out=("stream_options",),
        headers={"X-Title": "recall"},
        headers_env={"X-Organization": "ORGANIZATION"},
        chat_template_kwargs={"enable_thinking": False},
        extra_body={"top_k": 20, "reasoning": {"effort": "low"}},
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("temperature = 'hot'", "temperature = 'hot': it has to be a number"),
        ("temperature = -1", "temperature = -1: "),
        ("temperature = nan", "temperature = nan: "),
        ("temperature = true", "temperature = True: "),
        ("top_p = 0", "top_p = 0: "),
        ("top_p = 1.1", "top_p = 1.1: "),
        ("sampling_seed = 1.5", "sampling_seed = 1.5: it has to be a whole number"),
        ("sampling_seed = 2147483648", "sampling_seed = 2147483648: "),
        ("system_prompt = ''", "system_prompt = '': "),
        ("token_limit = 'max tokens'", "token_limit = 'max tokens': "),
        ("token_limit = 'messages'", "token_limit = 'messages': "),
        ("headers = { Content-Length = '5' }", r"headers\.Content-Length: how a request is sent"),
        ("headers = { transfer-encoding = 'chunked' }", r"headers\.transfer-encoding: "),
        ("leave_out = [1]", "leave_out = 1: "),
        ("extra_body = 7", "extra_body = 7: it has to be a table"),
        ("extra_body = { model = 'n' }", r"extra_body\.model: "),
        ("extra_body = { messages = [] }", r"extra_body\.messages: "),
        ("extra_body = { at = 2026-01-01 }", "extra_body: it cannot be sent as JSON"),
        ("headers = { 'a b' = 'c' }", "'a b' is not the name of a header"),
        ("headers = { X-A = 7 }", r"headers\.X-A has to be a line of plain text"),
        (r'headers = { X-A = "a\r\nX-B: c" }', r"headers\.X-A has to be a line"),
        ("api = 'completions'\nsystem_prompt = 'Be brief.'", 'system_prompt needs api = "chat"'),
        ("temprature = 1", "unknown key 'temprature'; did you mean temperature"),
    ],
)
def test_a_bad_value_is_refused_naming_file_key_and_value(
    tmp_path: Path, line: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path, f"{WEB}{line}\n")
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "Cookie", "X-Auth", "my-token"])
def test_a_header_that_may_be_secret_is_refused_and_not_repeated(tmp_path: Path, name: str) -> None:
    for line in (f'headers = {{ {name} = "sk-abc1" }}', f'headers_env = {{ {name} = "sk-abc1" }}'):
        with pytest.raises(InputError, match=name) as caught:
            load(tmp_path, f"{WEB}{line}\n")
        assert "sk-abc1" not in str(caught.value)
    assert load(tmp_path, f'{WEB}headers_env = {{ {name} = "MY_KEY" }}\n').headers_env == {
        name: "MY_KEY"
    }


@pytest.mark.parametrize("place", ['address = "h:1"', 'checkpoint = "c"'])
def test_a_server_of_ours_is_told_how_to_draw_and_a_system_prompt_alone(
    tmp_path: Path, place: str
) -> None:
    own = 'temperature = 1\ntop_p = 0.5\nsampling_seed = 3\nsystem_prompt = "Be brief."\n'
    assert load(tmp_path, f"{place}\n{own}").given() == {
        "temperature": 1.0,
        "top_p": 0.5,
        "sampling_seed": 3,
        "system_prompt": "Be brief.",
    }
    for line in ALL.split("\n")[5:-1]:
        with pytest.raises(InputError, match=f"{line.split()[0]} needs an address"):
            load(tmp_path, f"{place}\n{line}\n")


def test_the_command_line_takes_every_type() -> None:
    given = read_request_options(
        [
            "temperature=0.7",
            "system_prompt=Be brief.",
            "token_limit = max_completion_tokens",
            'leave_out=["stop", "stream_options"]',
            "extra_body.top_k=20",
            "extra_body.reasoning.effort=low",
            'extra_body.reasoning.exclude=true',
            "chat_template_kwargs={enable_thinking = false}",
        ]
    )  # fmt: skip
    assert given.given() == {
        "temperature": 0.7,
        "system_prompt": "Be brief.",
        "token_limit": "max_completion_tokens",
        "leave_out": ("stop", "stream_options"),
        "extra_body": {"top_k": 20, "reasoning": {"effort": "low", "exclude": True}},
        "chat_template_kwargs": {"enable_thinking": False},
    }


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("temperature", "--request temperature: it has to be KEY=VALUE"),
        ("=1", "--request =1: it has to be KEY=VALUE"),
        ("temprature=1", "unknown request option 'temprature'; did you mean temperature"),
        ("temperature=hot", "temperature = 'hot': it has to be a number"),
        ("extra_body.model=n", r"extra_body\.model"),
        ("extra_body=7", "extra_body = 7: it has to be a table"),
        ("extra_body.a b=7", r"--request extra_body\.a b=7: "),
        ("headers.Authorization=sk-1", r"headers\.Authorization may hold a secret"),
    ],
)
def test_a_bad_assignment_is_refused_by_name(assignment: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_request_options([assignment])


def test_what_is_given_for_a_run_comes_before_what_the_file_says() -> None:
    below = RequestOptions(temperature=0.5, top_p=0.9, extra_body={"top_k": 20, "min_p": 0.1})
    above = RequestOptions(temperature=0.0, extra_body={"top_k": 5})
    assert above.over(below) == RequestOptions(
        temperature=0.0, top_p=0.9, extra_body={"top_k": 5, "min_p": 0.1}
    )
