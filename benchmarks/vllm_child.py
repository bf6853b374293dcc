"""Runs prompts on vLLM; a script of its own, for an environment that has vLLM and nothing of ours.

A JSON object on standard input; on the last line of standard output another.
"""

import json
import os
import sys
import time

_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}


def main() -> None:
    """Generates for each round of prompts and reports how long each took."""
    os.environ.update(_ENVIRONMENT)
    import vllm  # noqa: PLC0415  # reads the environment

    question = json.load(sys.stdin)
    engine = vllm.LLM(
        model=question["checkpoint"],
        skip_tokenizer_init=True,
        enforce_eager=True,
        dtype="float32",
        max_num_seqs=len(question["rounds"][0]),
        max_model_len=1024,
        disable_log_stats=True,
    )
    how = vllm.SamplingParams(
        temperature=0, max_tokens=question["max_new_tokens"], ignore_eos=True, detokenize=False
    )
    rounds = []
    for prompts in question["rounds"]:
        began = time.perf_counter()
        outputs = engine.generate(
            [{"prompt_token_ids": ids} for ids in prompts], how, use_tqdm=False
        )
        rounds.append(
            {
                "seconds": time.perf_counter() - began,
                "num_tokens": sum(len(one.outputs[0].token_ids) for one in outputs),
            }
        )
    print(json.dumps(rounds))


if __name__ == "__main__":
    main()
