from pathlib import Path

import pytest
from harnessapi.values import ModelDescription

from harness.endpoints.config import (
    PACKAGED_FILE,
    load_endpoints,
    require_api_keys,
    require_checkpoints,
)
from harness.endpoints.engines import EngineProtocol, EngineServer
from harness.endpoints.external import Api, External
from harness.endpoints.serving import START_TIMEOUT_S
from harness.errors import HarnessError
from harness.fleet.plans import model_arguments, server_key
from harness.way import Style

WEB = 'address = "https://h/v1"'
ENGINE = "[a]\naddress = 'grpc://h:1'\nprotocol = 'vllm'\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "endpoints.toml"
    path.write_text(text)
    return path


def test_the_packaged_file_has_the_rnn_with_and_without_its_channel(tmp_path: Path) -> None:
    file = load_endpoints(None, tmp_path)
    assert file.path == PACKAGED_FILE
    plain, with_channel = file.select(["rnn", "rnn-rag"])
    assert plain.checkpoint == with_channel.checkpoint == "checkpoints/rnn"
    assert (plain.retrieval, with_channel.retrieval) == (False, True)


def test_a_file_in_the_working_directory_takes_its_place(tmp_path: Path) -> None:
    write(tmp_path, '[mine]\naddress = "127.0.0.1:9"\n')
    file = load_endpoints(None, tmp_path)
    assert [endpoint.name for endpoint in file.select(["all"])] == ["mine"]


def test_a_given_file_comes_before_the_working_directory(tmp_path: Path) -> None:
    write(tmp_path, '[mine]\naddress = "127.0.0.1:9"\n')
    given = tmp_path / "given"
    given.mkdir()
    path = write(given, '[other]\ncheckpoint = "c"\n')
    file = load_endpoints(path, tmp_path)
    [endpoint] = file.select(["other"])
    (given / "c").mkdir()
    assert endpoint.checkpoint_folder() == (given / "c").resolve()


def test_the_packaged_checkpoint_is_looked_for_in_the_working_directory_first(
    tmp_path: Path,
) -> None:
    (tmp_path / "checkpoints" / "rnn").mkdir(parents=True)
    [endpoint] = load_endpoints(None, tmp_path).select(["rnn"])
    assert endpoint.checkpoint_folder() == (tmp_path / "checkpoints" / "rnn").resolve()


def test_a_missing_checkpoint_says_where_it_was_looked_for(tmp_path: Path) -> None:
    path = write(tmp_path, '[mine]\ncheckpoint = "nowhere"\n')
    [endpoint] = load_endpoints(path, tmp_path).select(["mine"])
    with pytest.raises(HarnessError, match=f"'mine': no checkpoint at {tmp_path}/nowhere"):
        endpoint.checkpoint_folder()


def test_unknown_endpoints_suggest_near_ones(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="unknown endpoint 'rnn-rga'; did you mean rnn-rag"):
        load_endpoints(None, tmp_path).select(["rnn-rga"])


def test_a_web_address_is_asked_in_natural_language_by_turns(tmp_path: Path) -> None:
    path = write(tmp_path, f'[gpt]\n{WEB}\nmodel = "m"\napi_key_env = "KEY"\nretrieval = true\n')
    [endpoint] = load_endpoints(path, tmp_path).select(["gpt"])
    assert endpoint.external == External(model="m", api_key_env="KEY")
    assert (endpoint.external.api, endpoint.external.style) == (Api.TURNS, Style.NATURAL)
    assert (endpoint.retrieval, endpoint.place) == (True, "https://h/v1 m")


def test_an_endpoint_may_have_several_addresses(tmp_path: Path) -> None:
    path = write(tmp_path, "[a]\naddress = ['h:1', 'unix:/s']\n[b]\naddress = ['h:1']\n")
    several, one = load_endpoints(path, tmp_path).endpoints
    assert (several.addresses, several.has_replicas) == (("h:1", "unix:/s"), True)
    assert several.place == "h:1, unix:/s"
    assert (one.addresses, one.has_replicas) == (("h:1",), False)


def test_an_engine_is_asked_as_its_tokenizer_allows_and_has_a_folder(tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    path = write(tmp_path, f"{ENGINE}tokenizer = 'words'\nheaders = {{ X-Team = 'a' }}\n")
    [endpoint] = load_endpoints(path, tmp_path).endpoints
    assert endpoint.engine == EngineServer(protocol=EngineProtocol.VLLM, tokenizer="words")
    assert endpoint.tokenizer_folder() == tmp_path / "words"
    assert (endpoint.place, endpoint.is_ours) == ("grpc://h:1 vllm", False)
    talks, writes = (
        ModelDescription(name="m", family="", styles=("natural",), has_chat_template=has)
        for has in (True, False)
    )
    assert (endpoint.api_for(talks), endpoint.api_for(writes)) == (Api.TURNS, Api.COMPLETIONS)


def test_an_engine_with_one_of_our_checkpoints_is_given_a_text(tmp_path: Path) -> None:
    path = write(tmp_path, f"{ENGINE}tokenizer = 't'\nstyle = 'symbolic'\n")
    [endpoint] = load_endpoints(path, tmp_path).endpoints
    assert endpoint.engine is not None
    assert (endpoint.engine.api, endpoint.style) == (Api.COMPLETIONS, Style.SYMBOLIC)
    with pytest.raises(HarnessError, match=f"'a': no tokenizer at {tmp_path}/t"):
        require_checkpoints([endpoint])


@pytest.mark.parametrize("key", ["sk-Abc123", "sk_abc123", ""])
def test_a_key_in_the_file_is_refused_and_not_repeated(tmp_path: Path, key: str) -> None:
    path = write(tmp_path, f'[gpt]\n{WEB}\nmodel = "m"\napi_key_env = "{key}"\n')
    with pytest.raises(HarnessError, match="api_key_env has to") as caught:
        load_endpoints(path, tmp_path)
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize("value", [None, "", " "])
def test_a_key_that_is_not_in_the_environment_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is not None:
        monkeypatch.setenv("FAR_KEY", value)
    path = write(tmp_path, f'[gpt]\n{WEB}\nmodel = "m"\napi_key_env = "FAR_KEY"\n')
    with pytest.raises(HarnessError, match="'gpt': the environment variable FAR_KEY is not set"):
        require_api_keys(load_endpoints(path, tmp_path).endpoints)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]\ncheckpiont = 'x'\n", r"\[a\] unknown key 'checkpiont'; did you mean checkpoint"),
        ("[a]\ncheckpoint = 7\n", r"\[a\] checkpoint = 7: it has to be a string"),
        ("[a]\ncheckpoint = ''\n", r"\[a\] checkpoint = ''"),
        ("[a]\ncheckpoint = 'x'\nretrieval = 'yes'\n", "retrieval = 'yes': .* true or false"),
        ("[a]\n", "either a checkpoint or an address"),
        ("[a]\ncheckpoint = 'x'\naddress = 'h:1'\n", "either a checkpoint or an address"),
        ("[a]\ncheckpoint = 'x'\nprompt_price = 1\n", "prompt_price needs completion_price"),
        (
            "[a]\ncheckpoint = 'x'\nprompt_price = 'free'\ncompletion_price = 0\n",
            "prompt_price = 'free': it has to be the price of a million tokens",
        ),
        (
            "[a]\ncheckpoint = 'x'\nprompt_price = 0\ncompletion_price = -1\n",
            "completion_price = -1: it has to be",
        ),
        ("[a]\naddress = []\n", r"address = \[\]: it has to be a string, or a list of strings"),
        (
            "[a]\naddress = ['h:1', 7]\n",
            r"address = \['h:1', 7\]: it has to be a string, or a list",
        ),
        ("[a]\naddress = ['h:1', 'h:1']\n", r"\[a\] address: 'h:1' stands there twice"),
        ("[a]\naddress = ['h:1', 'nonsense']\n", r"\[a\] address: .*nonsense"),
        ("[a]\naddress = ['h:1', 'http://h/v1']\n", "all have to be asked in one way"),
        (
            "[a]\naddress = ['http://h/v1', 'http://u:p@h/v1']\nmodel = 'm'\n",
            "see api_key_env",
        ),
        ("[a]\ncheckpoint = 'x'\nresolve = true\n", "resolve is for an address"),
        ("[a]\naddress = 'unix:/s'\nresolve = true\n", "resolve: address 'unix:/s' names no host"),
        ("[a]\naddress = 'h:1'\nresolve = 1\n", "resolve = 1: it has to be true or false"),
        ("[a]\naddress = 'nonsense'\n", r"\[a\] address: .*nonsense"),
        (f"[a]\n{WEB}\n", 'needs model = "NAME"'),
        (f"[a]\n{WEB}\nmodel = 'm'\napi = 'caht'\n", "unknown api 'caht'; did you mean chat"),
        (f"[a]\n{WEB}\nmodel = 'm'\nstyle = 'symbolic'\n", 'needs api = "completions"'),
        (f"[a]\n{WEB}\nmodel = 7\n", "model has to be a string"),
        (f"[a]\n{WEB}\nmodel = 'm'\nstyle = 'plain'\n", "unknown style 'plain'"),
        ("[a]\naddress = 'https://'\nmodel = 'm'\n", "names no host"),
        ("[a]\naddress = 'http://exa mple/v1'\nmodel = 'm'\n", "'exa mple' cannot be a host"),
        ("[a]\naddress = 'http://a..b/v1'\nmodel = 'm'\n", "'a..b' cannot be a host"),
        ("[a]\naddress = 'http://h/v 1'\nmodel = 'm'\n", "no space may be in it"),
        ("[a]\naddress = 'https://h:x/v1'\nmodel = 'm'\n", "https://h:x/v1"),
        ("[a]\naddress = 'https://u:p@h/v1'\nmodel = 'm'\n", "see api_key_env"),
        ("[a]\naddress = 'https://h/v1/chat/completions'\nmodel = 'm'\n", "it ends before"),
        ("[a]\naddress = 'h:1'\nmodel = 'm'\n", "model needs an address that begins with http"),
        ("[a]\ncheckpoint = 'x'\nmodel = 'm'\n", "model needs an address that begins with http"),
        ("[a]\ncheckpoint = 'x'\nstate_bits = 60\n", "state_bits = 60: .* a multiple of 8"),
        ("[a]\ncheckpoint = 'x'\nstate_bits = true\n", "state_bits = True: .* a multiple of 8"),
        (
            "[a]\ncheckpoint = 'x'\nstate_bits = 64\nretrieval = true\n",
            "state_bits and retrieval = true exclude each other",
        ),
        ("[a]\naddress = 'h:1'\nstate_bits = 64\n", "state_bits is for a checkpoint"),
        (
            "[a]\ncheckpoint = 'x'\ncache_policy = 'lru'\n",
            "cache_policy = 'lru' is no cache policy",
        ),
        ("[a]\ncheckpoint = 'x'\ncache_policy = 64\n", "cache_policy = '64' is no cache policy"),
        ("[a]\naddress = 'h:1'\ncache_policy = 'full'\n", "cache_policy is for a checkpoint"),
        ("[a]\ncheckpoint = 'x'\napi = 'caht'\n", "unknown api 'caht'; did you mean chat"),
        (f"{ENGINE}", 'protocol = "vllm" needs tokenizer = "FOLDER"'),
        (f"{ENGINE}tokenizer = 7\n", "tokenizer has to be a string"),
        (f"{ENGINE}tokenizer = 't'\nmodel = 'm'\n", "model needs an address that begins with http"),
        (f"{ENGINE}tokenizer = 't'\nextra_body = {{ x = 1 }}\n", "extra_body needs an address"),
        (
            f"{ENGINE}tokenizer = 't'\nheaders = {{ 'grpc-timeout' = '1' }}\n",
            "grpc-timeout cannot be the name of gRPC metadata",
        ),
        (f"{ENGINE}tokenizer = 't'\nheaders = {{ 'a-bin' = '1' }}\n", "a-bin cannot be the name"),
        (f"{ENGINE}tokenizer = 't'\nthreads = 2\n", "threads is for a checkpoint"),
        (
            f"{ENGINE}tokenizer = 't'\nstyle = 'symbolic'\napi = 'chat'\n",
            'needs api = "completions"',
        ),
        (
            f"{ENGINE}tokenizer = 't'\napi = 'completions'\nsystem_prompt = 'Hi'\n",
            'system_prompt needs api = "chat"',
        ),
        ("[a]\naddress = 'h:1'\nprotocol = 'vlm'\n", "unknown protocol 'vlm'; did you mean vllm"),
        (
            "[a]\naddress = 'h:1'\nprotocol = 'sglang'\ntokenizer = 't'\nsampling_seed = 1\n",
            "sampling_seed: SGLang's gRPC requests have no seed",
        ),
        ("[a]\ncheckpoint = 'x'\nprotocol = 'vllm'\n", "protocol is for the address of a server"),
        ("[a]\naddress = 'h:1'\ntokenizer = 't'\n", "tokenizer is for the address of a server"),
        (f"[a]\n{WEB}\nmodel = 'm'\nprotocol = 'vllm'\n", "protocol is for an address that"),
        ("[all]\ncheckpoint = 'x'\n", "'all'"),
        ("a = 3\n", "a = 3"),
        ("", "no endpoints"),
        ("[a", "endpoints.toml: "),
        ("[a]\nthreads = " + "9" * 5000 + "\n", "4300 digits"),
        ("[a]\nx = " + "[" * 5000 + "]" * 5000 + "\n", "nested too deeply"),
        ('[""]\ncheckpoint = "x"\n', "name is a line of text"),
        ('["a\\nb"]\ncheckpoint = "x"\n', "name is a line of text"),
    ],
)
def test_a_bad_file_is_refused_naming_file_key_and_value(
    tmp_path: Path, text: str, message: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(HarnessError, match=message) as caught:
        load_endpoints(path, tmp_path)
    assert str(path) in str(caught.value)


def test_how_a_checkpoint_is_served_is_said_in_its_table(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '[mine]\ncheckpoint = "c"\nbackend = "transformers"\nstyles = ["natural", "symbolic"]\n'
        "device = 'cuda'\nthreads = 2\nstate_bits = 64\ncache_policy = 'tova=64'\n"
        "start_timeout_s = 900\n"
        "[plain]\ncheckpoint = 'c'\n",
    )
    (tmp_path / "c").mkdir()
    mine, plain = load_endpoints(path, tmp_path).select(["all"])
    assert model_arguments(mine) == (
        str((tmp_path / "c").resolve()),
        *("--backend", "transformers", "--device", "cuda"),
        *("--styles", "natural,symbolic", "--threads", "2", "--state-bits", "64"),
        *("--cache-policy", "tova=64"),
    )
    assert model_arguments(plain) == (str((tmp_path / "c").resolve()),)
    assert (mine.start_timeout_s, plain.start_timeout_s) == (900.0, START_TIMEOUT_S)


def test_a_checkpoint_served_in_two_ways_has_two_servers(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "[a]\ncheckpoint = 'c'\n[b]\ncheckpoint = 'c'\nretrieval = true\n"
        "[d]\ncheckpoint = 'c'\nbackend = 'vllm'\n",
    )
    (tmp_path / "c").mkdir()
    a, b, d = load_endpoints(path, tmp_path).select(["all"])
    assert server_key(a) == server_key(b) != server_key(d)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("backend = 'vlm'", "unknown backend 'vlm'; did you mean vllm"),
        ("backend = 1", "unknown backend '1'"),
        ("device = 'gpu'", "unknown device 'gpu'; did you mean cpu"),
        ("styles = 'natural'", "styles = 'natural': it has to be a list of symbolic, natural"),
        ("styles = []", r"styles = \[\]: it has to be a list"),
        ("styles = ['natura']", "unknown styles 'natura'; did you mean natural"),
        ("threads = 0", "threads = 0: it has to be a whole number above 0"),
        ("threads = true", "threads = True"),
        ("start_timeout_s = 'long'", "start_timeout_s = 'long': it has to be a number of seconds"),
        ("start_timeout_s = -1", "start_timeout_s = -1"),
        ("start_timeout_s = nan", "start_timeout_s = nan"),
    ],
)
def test_a_wrong_value_of_how_it_is_served_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = write(tmp_path, f"[mine]\ncheckpoint = 'c'\n{line}\n")
    with pytest.raises(HarnessError, match=words):
        load_endpoints(path, tmp_path)


def test_who_is_at_an_address_is_not_started_by_us(tmp_path: Path) -> None:
    for told in ("address = '127.0.0.1:9'", f"{WEB}\nmodel = 'm'"):
        path = write(tmp_path, f"[mine]\n{told}\nthreads = 2\n")
        with pytest.raises(HarnessError, match="threads is for a checkpoint"):
            load_endpoints(path, tmp_path)


def folder_of_checkpoints(tmp_path: Path) -> Path:
    for name in ("gru-2", "gru-1", "no-checkpoint"):
        (tmp_path / "many" / name).mkdir(parents=True)
        if name.startswith("gru"):
            (tmp_path / "many" / name / "config.json").write_text("{}")
    path = tmp_path / "endpoints.toml"
    path.write_text(
        '[one]\ncheckpoint = "one"\n[lab]\ncheckpoints = "many"\nretrieval = true\nthreads = 2\n'
    )
    return path


def test_a_folder_of_checkpoints_is_an_endpoint_for_each(tmp_path: Path) -> None:
    file = load_endpoints(folder_of_checkpoints(tmp_path), tmp_path)
    assert [endpoint.name for endpoint in file.select(["lab"])] == ["lab-gru-1", "lab-gru-2"]
    (second,) = file.select(["lab-gru-2"])
    assert second.checkpoint_folder() == (tmp_path / "many" / "gru-2").resolve()
    assert (second.retrieval, second.serving.threads) == (True, 2)
    assert [endpoint.name for endpoint in file.select(["all"])] == ["one"]
    assert [endpoint.name for endpoint in file.select(["one", "lab", "lab-gru-1"])] == [
        "one",
        "lab-gru-1",
        "lab-gru-2",
    ]


def test_names_of_a_folder_may_be_chosen_by_a_pattern(tmp_path: Path) -> None:
    path = folder_of_checkpoints(tmp_path)
    table = '[lab-kept]\ncheckpoints = "many/*-[23]"\ncache_policy = "tova=4"\n'
    path.write_text(path.read_text() + table)
    file = load_endpoints(path, tmp_path)
    (chosen,) = file.select(["lab-kept"])
    assert (chosen.name, chosen.serving.cache_policy) == ("lab-kept-gru-2", "tova=4")
    assert chosen.checkpoint_folder() == (tmp_path / "many" / "gru-2").resolve()
    assert [endpoint.name for endpoint in file.select(["lab"])] == ["lab-gru-1", "lab-gru-2"]
    with pytest.raises(HarnessError, match="'lab-kept-gru-1': no checkpoint 'gru-1'"):
        file.select(["lab-kept-gru-1"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('checkpoint = "one"', "has checkpoints and checkpoint"),
        ('address = "grpc://a:1"', "has checkpoints and address"),
        ("threads = 0", "threads"),
    ],
)
def test_what_is_wrong_with_a_folder_of_checkpoints_is_named(
    tmp_path: Path, line: str, words: str
) -> None:
    path = tmp_path / "endpoints.toml"
    path.write_text(f'[lab]\ncheckpoints = "many"\n{line}\n')
    with pytest.raises(HarnessError, match=words):
        load_endpoints(path, tmp_path)


@pytest.mark.parametrize(
    ("name", "folder", "words"),
    [
        ("lab", None, r"endpoint 'lab': no folder of checkpoints at .*many"),
        ("lab", [], r"endpoint 'lab': no checkpoint in .*many \(there: none yet\); harness train"),
        ("lab-gru", [], r"endpoint 'lab-gru': no checkpoint 'gru' in .*many \(there: none yet\)"),
        ("lab-gru", ["lstm"], r"no checkpoint 'gru' in .*many \(there: lstm\); harness train"),
        ("label", ["lstm"], r"unknown endpoint 'label'; did you mean lab-lstm"),
    ],
)
def test_a_checkpoint_that_a_folder_does_not_have_yet_is_named(
    tmp_path: Path, name: str, folder: list[str] | None, words: str
) -> None:
    for one in folder or ():
        (tmp_path / "many" / one).mkdir(parents=True)
        (tmp_path / "many" / one / "config.json").write_text("{}")
    if folder is not None:
        (tmp_path / "many").mkdir(exist_ok=True)
        (tmp_path / "many" / "recipe.toml").touch()
    path = write(tmp_path, '[one]\ncheckpoint = "one"\n[lab]\ncheckpoints = "many"\n')
    file = load_endpoints(path, tmp_path)
    assert [endpoint.name for endpoint in file.select(["all"])] == ["one"]
    with pytest.raises(HarnessError, match=words):
        file.select([name])


def test_a_file_of_nothing_but_an_empty_folder_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, '[lab]\ncheckpoints = "many"\n')
    with pytest.raises(HarnessError, match="endpoint 'lab': no folder of checkpoints at"):
        load_endpoints(path, tmp_path)
