"""Which tokens are accepted, from where, and what is said of those that cannot be."""

from collections.abc import Callable

import pytest
from harnessapi.rpc.secret_files import SecretSource, SecurityError
from harnessapi.rpc.tokens import AcceptedTokens, KeptTokens, ShownToken, environment_source

OLD, NEW = "an-old-token-0123456789", "a-new-token-0123456789ab"
Written = Callable[..., SecretSource]


class Seconds:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_any_of_several_tokens_lets_in_and_nothing_else_does(token_file: Written) -> None:
    accepted = AcceptedTokens(KeptTokens(token_file(OLD, NEW)))
    for token in (OLD, NEW):
        assert accepted.accepts(f"Bearer {token}")
        assert accepted.accepts(f"Bearer {token}".encode())
    wrong = (None, "", "Bearer", "Bearer ", OLD, f"bearer {OLD}", f"Bearer {OLD[:-1]}")
    wrong += (f"Bearer {OLD} ", f"Bearer {OLD}{NEW}", b"\xff\xfe", f"Bearer {OLD}\udc80")
    assert not any(map(accepted.accepts, wrong))


def test_a_changed_file_is_read_again_within_a_second(token_file: Written) -> None:
    clock = Seconds()
    kept = KeptTokens(token_file(OLD), now_s=clock)
    accepted, shown = AcceptedTokens(kept), ShownToken(kept)
    token_file(NEW)
    assert accepted.accepts(f"Bearer {OLD}")
    clock.now = 1.0
    assert not accepted.accepts(f"Bearer {OLD}")
    assert accepted.accepts(f"Bearer {NEW}")
    assert shown.metadata() == (("authorization", f"Bearer {NEW}"),)


def test_a_file_that_becomes_unusable_is_said_once_and_its_tokens_stay(
    token_file: Written, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Seconds()
    accepted = AcceptedTokens(KeptTokens(token_file(OLD), now_s=clock))
    token_file(NEW, mode=0o644)
    for clock.now in (1.0, 2.0, 3.0):
        assert accepted.accepts(f"Bearer {OLD}")
    [said] = [record.getMessage() for record in caplog.records]
    assert "every user of this machine can read it" in said
    assert NEW not in said


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("", 0o600, "the file is empty"),
        (" \n\n", 0o600, "the file is empty"),
        (OLD, 0o604, "every user of this machine can read it (mode 0604)"),
        ("short", 0o600, "token 1 has 5 characters"),
        (f"{OLD}\nwith-ümläuts-0123456789", 0o600, "token 2 has characters other than"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_shows_nothing(
    token_file: Written, content: str, mode: int, said: str
) -> None:
    with pytest.raises(SecurityError) as raised:
        KeptTokens(token_file(content, mode=mode))
    assert said in str(raised.value)
    assert str(raised.value).startswith("--token-file ")
    assert not content.strip() or content.rsplit(maxsplit=1)[-1] not in str(raised.value)


def test_a_variable_may_hold_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKENS", f" {OLD} {NEW} ")
    held = environment_source("SOME_TOKENS")
    assert held is not None
    assert OLD not in f"{held} {held!r}"
    assert AcceptedTokens(KeptTokens(held)).accepts(f"Bearer {NEW}")
    monkeypatch.setenv("SOME_TOKENS", "")
    assert environment_source("SOME_TOKENS") is None
