"""Where texts are tokenized: none holds the event loop up for long, nor a short one a longer."""

import asyncio
import threading

from harnessapi.values import ModelDescription
from tokenizers import Tokenizer

from harness_servers.checkpoints.codec import Codec, Encoded
from harness_servers.rpc.intake import Intake

MODEL = ModelDescription(name="m", family="RNN", max_prompt_tokens=10**6)
LONG = 30_000


class SlowCodec(Codec):
    """Knows on which thread a text was tokenized; a long one takes until `may_end`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer, eos_ids=frozenset(), answer_id=None, markers=None)
        self.may_end = threading.Event()
        self.threads: list[int] = []

    def encode_prompt(self, text: str, max_tokens: int | None = None) -> Encoded:
        self.threads.append(threading.get_ident())
        if len(text) >= LONG:
            self.may_end.wait()
        return super().encode_prompt(text, max_tokens)


async def test_a_long_text_is_tokenized_beside_the_loop_and_holds_up_none(
    tokenizer: Tokenizer,
) -> None:
    codec = SlowCodec(Tokenizer.from_str(tokenizer.to_str()))
    intake = Intake(codec, MODEL)
    long = asyncio.create_task(intake.tokenize("1" + " 1" * LONG))
    await asyncio.sleep(0)
    for num_characters, is_on_loop in [(10, True), (999, True), (1001, False), (19_999, False)]:
        encoded = await intake.tokenize("1" + " 1" * (num_characters // 2))
        assert len(encoded.ids) == num_characters // 2 + 1
        assert (codec.threads[-1] == threading.get_ident()) == is_on_loop
    assert not long.done()
    codec.may_end.set()
    assert len((await long).ids) == LONG + 1
