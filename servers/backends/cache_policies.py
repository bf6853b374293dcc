"""A checkpoint served with caches that have a policy: which tokens its attention layers keep."""

from dataclasses import replace
from typing import Protocol, runtime_checkable

from harnessapi.cache_policy import CachePolicy, CachePolicyError, parse_cache_policy

from harness_servers.checkpoints.checkpoint import Checkpoint
from harness_servers.errors import CheckpointError
from harness_servers.models.protocol import ConfigError, SequenceModel


@runtime_checkable
class HasCachePolicy(Protocol):
    """A model whose caches can have another policy."""

    def with_cache_policy(self, policy: CachePolicy) -> SequenceModel:
        """The same weights under this policy. Raises ConfigError."""
        ...


def with_policy(checkpoint: Checkpoint[SequenceModel], text: str) -> Checkpoint[SequenceModel]:
    """The same under the policy that this text says. Raises CheckpointError."""
    try:
        return replace(checkpoint, model=_under(checkpoint, parse_cache_policy(text)))
    except (CachePolicyError, ConfigError, CheckpointError) as error:
        raise CheckpointError(
            f"checkpoint {checkpoint.folder}: --cache-policy {text}: {error}"
        ) from error


def _under(checkpoint: Checkpoint[SequenceModel], policy: CachePolicy) -> SequenceModel:
    if not isinstance(checkpoint.model, HasCachePolicy):
        raise CheckpointError(
            f"{checkpoint.config.model_type} has no cache that could have a policy; llama has"
        )
    return checkpoint.model.with_cache_policy(policy)
