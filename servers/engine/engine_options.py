"""The knobs of the engine, with the defaults that were measured for small models on a CPU."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineOptions:
    """Sizes and limits of one engine."""

    # Sequences decoded at once; the pool's memory is this many states.
    num_slots: int = 64
    # Prompt tokens read per step: the longest that decoding sequences wait for one.
    prefill_tokens: int = 512
    # Of these, tokens after which all logits are wanted, to score what is given: so many, and no
    # more than take this many logits (64 MiB).
    scored_tokens: int = 512
    scored_logits: int = 2**24
    # A sequence reads at least this many of them at once, or none: eight tokens of each of 64
    # prompts took Mamba2 1.5 to 2.8 times as long as 32 of each of 16.
    min_chunk_tokens: int = 32
    # What a sequence is extended by it reads up to this many tokens one by one in the
    # decode batch, which costs the others nothing; more are read as a prompt is.
    max_catch_up_tokens: int = 8
    # Prefix snapshots are taken at multiples of this, and before and after a prompt's last token.
    snapshot_interval: int = 256
    prefix_cache_bytes: int = 64 * 2**20
    # Tokens are told this often, but for the first of a sequence and its last before a pause; so
    # long are steps made in a row. With half the time, on a busy machine, 64 LSTM sequences took a
    # twentieth more of a core.
    news_interval_ns: int = 8_000_000
    # With every news, for who looks at the engine in numbers.
    tells_counts: bool = False
