#!/usr/bin/env bash
# Generates the Python modules of the .proto files into the folder OUT (the proto folder by default).
# usage: PYTHON=.venv/bin/python proto/generate.sh [OUT]
set -euo pipefail
cd "$(dirname "$0")"
out=${1:-.}
PATH=$(dirname "${PYTHON:-python}"):$PATH
find harnessapi -name '*.proto' -print0 | sort -z | xargs -0 "${PYTHON:-python}" -m grpc_tools.protoc \
  -I. --python_out="$out" --grpc_python_out="$out" --mypy_out="quiet:$out" --mypy_grpc_out="quiet:$out"
