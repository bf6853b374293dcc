"""Log-probabilities of the fake model: by the length of a word, so that a test knows them."""

from collections.abc import Iterable, Sequence

from harnessapi.inference.v1 import inference_pb2 as pb


def made_up(words: Sequence[str], num_top: int) -> list[pb.TokenLogProb]:
    """A token a word; the likeliest of every place are `likely`, `likely1` and so on."""
    return [
        pb.TokenLogProb(
            token=word,
            log_prob=-len(word) / 8,
            top=[
                pb.TopLogProb(token=f"likely{rank or ''}", log_prob=-(rank + 1) / 16)
                for rank in range(num_top)
            ],
        )
        for word in words
    ]


def give_log_probs(events: Iterable[pb.GenerateResponse], num_top: int) -> None:
    """With every Delta that the model wrote; the answer ends with a token without text."""
    for event in events:
        delta = event.delta
        if delta.text and delta.channel != pb.CHANNEL_INSERTED:
            ends = ["<eos>"] if delta.channel == pb.CHANNEL_ANSWER else []
            delta.log_probs.extend(made_up([*delta.text.split(), *ends], num_top))
