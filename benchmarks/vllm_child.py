"""Runs prompts on vLLM; a script of its own, for an environment that has vLLM and nothing of ours.

One JSON object a line on standard input, the first of which says what to load; one line of
standard output answers each.
"""

import json
import os
import sys
import time

# The cache in GiB: 64 states of a Mamba2 of 130M parameters take 1.2.
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "VLLM_LOGGING_LEVEL": "ERROR",
}


def main() -> None:
    """Loads the checkpoint, then generates for each round of prompts and says how long it took."""
    os.environ.update(_ENVIRONMENT)
    # What vLLM prints goes elsewhere: answers alone stand on standard output.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import vllm  # noqa: PLC0415  # reads the environment

    load = json.loads(sys.stdin.readline())
    engine = vllm.LLM(
        model=load["checkpoint"],
        skip_tokenizer_init=True,
        enforce_eager=True,
        dtype="float32",
        max_num_seqs=load["max_num_seqs"],
        max_model_len=1024,
        disable_log_stats=True,
    )
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        how = vllm.SamplingParams(
            temperature=0, max_tokens=question["max_new_tokens"], ignore_eos=True, detokenize=False
        )
        prompts = [{"prompt_token_ids": ids} for ids in question["prompts"]]
        began = time.perf_counter()
        outputs = engine.generate(prompts, how, use_tqdm=False)
        answer = {
            "seconds": time.perf_counter() - began,
            "num_tokens": sum(len(one.outputs[0].token_ids) for one in outputs),
        }
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
