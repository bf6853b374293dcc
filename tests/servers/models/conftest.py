import pytest

from harness_servers.models import model_class

from ..conftest import make_random
from .architectures import ARCHITECTURES


@pytest.fixture(scope="session", params=["rnn", "ssm", "hybrid", *ARCHITECTURES])
def model(request, tokenizer, lstm, ssm, hybrid):
    """Each architecture in turn."""
    if request.param in ARCHITECTURES:
        config = ARCHITECTURES[request.param]
        kind = model_class(config["model_type"])
        return make_random(kind, config, tokenizer.get_vocab_size())
    return {"rnn": lstm, "ssm": ssm, "hybrid": hybrid}[request.param]
