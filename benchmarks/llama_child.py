"""Serves a GGUF file with llama.cpp's own HTTP server; a script of its own, for an environment that

has `xllamacpp` and nothing of ours. Prints the address once it listens; ends with standard input.
"""

import argparse
import sys

import xllamacpp


def main() -> None:
    """Serves until standard input is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gguf")
    parser.add_argument("--name", required=True)
    parser.add_argument("--context", type=int, required=True, help="tokens of one sequence")
    parser.add_argument("--sequences", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = options.gguf
    params.model_alias = [options.name]
    params.n_parallel = options.sequences
    # It is divided among the sequences.
    params.n_ctx = options.context * options.sequences
    # As exact as it can: with half precision in the attention 1 answer of 600 was another.
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.port = 0
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
