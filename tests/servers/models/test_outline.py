"""What models of transformers keep is told without their weights."""

import pytest
import torch

transformers = pytest.importorskip("transformers")

from benchmarks.tiny_models import TYPES  # noqa: E402
from harness_servers.models.outline import outline  # noqa: E402

# Of one token in one layer with one head of 32 dimensions.
PAIR = 2 * 32 * 4
# 144 channels with 3 inputs each, and 4 heads of 32 x 8.
MAMBA2 = 4 * (144 * 3 + 4 * 32 * 8)


@pytest.mark.parametrize(
    ("model_type", "told", "family", "state_bytes", "token_bytes"),
    [
        ("llama", {}, "TRANSFORMER", 0, 2 * PAIR),
        ("gpt2", {}, "TRANSFORMER", 0, 2 * 2 * PAIR),
        ("mixtral", {"sliding_window": None}, "TRANSFORMER", 0, 2 * PAIR),
        ("gemma2", {}, "TRANSFORMER", 31 * PAIR, PAIR),
        ("mistral", {}, "TRANSFORMER", 2 * 31 * PAIR, 0),
        ("mistral", {"sliding_window": 512}, "TRANSFORMER", 0, 2 * PAIR),
        ("mamba2", {}, "SSM", 2 * MAMBA2, 0),
        ("falcon_h1", {}, "HYBRID", 2 * MAMBA2, 2 * PAIR),
        ("granitemoehybrid", {}, "HYBRID", MAMBA2, PAIR),
        ("lfm2", {}, "HYBRID", 4 * 64 * 2, PAIR),
        ("qwen3_next", {}, "HYBRID", 4 * (3 * 96 + 2 * 16 * 16), PAIR),
    ],
)
def test_states_windows_and_what_grows_are_told_apart(
    model_type: str, told: dict[str, object], family: str, state_bytes: int, token_bytes: int
) -> None:
    config = transformers.AutoConfig.for_model(model_type, **{**TYPES[model_type], **told})
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(
            config, experts_implementation="batched_mm"
        )
    told_of = outline(model)
    assert told_of.family == family
    assert (told_of.state_bytes(), told_of.state_bytes_per_token()) == (state_bytes, token_bytes)
    assert told_of.context_limit == (None if family == "SSM" else config.max_position_embeddings)
