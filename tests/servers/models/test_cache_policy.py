"""A Llama whose caches have a policy: what it keeps, and against whom it is held."""

import pytest
import torch
from harnessapi.cache_policy import CachePolicyError, parse_cache_policy
from transformers import MistralConfig, MistralForCausalLM

from harness_servers.models.llama_model import LlamaModel
from harness_servers.models.protocol import ConfigError
from harness_servers.models.token_mixer import RowState
from harness_servers.models.tova_attention import TovaAttention

from .architectures import LLAMA

SHAPE = {**LLAMA, "vocab_size": 50, "tie_word_embeddings": True}
KEPT = 4 * 2 * 2 * 8  # bytes of a key and a value: two heads of 8


def make(policy: str) -> LlamaModel:
    return LlamaModel.from_config({**SHAPE, "cache_policy": policy}).eval()


def test_windows_are_those_of_a_mistral() -> None:
    config = MistralConfig(
        **{name: value for name, value in SHAPE.items() if name != "model_type"}, sliding_window=9
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        other = MistralForCausalLM(config).eval()
        for name, weight in other.named_parameters():
            if name.endswith(("proj.weight", "embed_tokens.weight")):
                torch.nn.init.normal_(weight, std=0.3)
    model = make("window=9")
    weights = other.state_dict()
    del weights["lm_head.weight"]
    model.load_state_dict(weights)
    tokens = torch.randint(0, 50, (2, 60), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = other(tokens).logits
    state, slots = model.init_state(2), torch.arange(2)
    read = model.read_all(tokens[:, :50], torch.tensor([50, 50]), state, slots)
    torch.testing.assert_close(read.view(2, 50, -1), expected[:, :50], atol=1e-4, rtol=0)
    for t in range(50, 60):
        decoded = model.decode(tokens[:, t], state, slots)
        torch.testing.assert_close(decoded, expected[:, t], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("policy", "kept", "grows"),
    [
        ("full", 8, 2 * KEPT),
        ("tova=64", 2 * (64 * KEPT + 8), 0),
        ("window=64", 2 * (63 * KEPT + 8), 0),
        ("window=64,full=0", 63 * KEPT + 8 + 8, KEPT),
        ("tova=64,full=0+1", 8, 2 * KEPT),
    ],
)
def test_only_layers_that_keep_all_grow(policy: str, kept: int, grows: int) -> None:
    model = make(policy)
    assert (model.state_bytes(), model.state_bytes_per_token()) == (kept, grows)
    state = model.init_state(1)
    before = sum(tensor.nbytes for tensor in state.values())
    model.prefill(torch.zeros(1, 300).long(), torch.tensor([300]), state, torch.tensor([0]))
    assert (sum(tensor.nbytes for tensor in state.values()) > before) == (grows > 0)


@pytest.mark.parametrize("policy", ["tova=50", "window=51"])
def test_who_has_room_for_a_text_says_what_one_who_keeps_all_says(policy: str) -> None:
    full = make("full")
    other = full.with_cache_policy(parse_cache_policy(policy))
    tokens, slots = torch.arange(50)[None], torch.tensor([0])
    expected = full.read_all(tokens, torch.tensor([50]), full.init_state(1), slots)
    found = other.read_all(tokens, torch.tensor([50]), other.init_state(1), slots)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert other.embedding.weight.data_ptr() == full.embedding.weight.data_ptr()


def test_of_tokens_without_any_attention_the_oldest_is_dropped() -> None:
    attention = TovaAttention(make("full").shape.attention, num_kept=3)
    state: RowState = attention.init_state(1, torch.device("cpu"))
    value = torch.arange(1.0, 6.0)
    for number in value:
        # Each looks at itself alone: all others have a weight of 0 in float32.
        key = torch.zeros(1, 2, 8)
        key[0, :, 0] = 100 * number
        query = torch.full((1, 4, 8), 100.0)
        _, state = attention._attend(query, key, torch.full((1, 2, 8), float(number)), state)
    assert state["value"][0, :, 0, 0].tolist() == [3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    "text", ["", "TOVA=4", "tova", "tova=0", "tova=-1", "window=4,full=", "full=1", "lru=4"]
)
def test_a_policy_that_is_none_is_named_with_what_there_is(text: str) -> None:
    with pytest.raises(CachePolicyError, match=rf"'{text}' is no cache policy: full, tova=TOKENS"):
        parse_cache_policy(text)
    with pytest.raises(ConfigError, match=rf"cache_policy: '{text}' is no cache policy"):
        make(text)


def test_a_layer_that_there_is_not_is_named() -> None:
    with pytest.raises(ConfigError, match="layer 7 is to keep all tokens; layers are 0 to 1"):
        make("window=4,full=0+7")
