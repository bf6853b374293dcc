#!/bin/sh
# Installs torch for $PYTHON, and writes which one into a constraints file: with that in force no later
# install replaces it.
#
#   PYTHON=.venv/bin/python tools/install-torch.sh torch==2.13.0+cpu .venv/constraints.txt
#
# A build for the CPU (`+cpu`) is looked for where pip is configured to look, then in PyTorch's own
# index. PyPI has none for Linux: the last resort is its CUDA build, said before it begins. Any other
# build is found where pip looks, or nowhere.
set -eu
asked=$1
constraints=$2
said=$(mktemp)
trap 'rm -f "$said"' EXIT

install() { # REQUIREMENT [PIP OPTION...]
    "${PYTHON:-python}" -m pip install --disable-pip-version-check --no-deps "$@" || return
    echo "$1" > "$constraints"
}

attempt() { # WHERE REQUIREMENT [PIP OPTION...]
    echo "torch: looking for $2 $1"
    shift
    install "$@" 2> "$said" || { echo "torch: not there ($(tail -n 1 "$said"))"; return 1; }
}

case $asked in
    *+cpu) ;;
    *) echo "torch: installing $asked"; install "$asked"; exit ;;
esac
attempt 'where pip is configured to look' "$asked" && exit
# Quick to fail where it cannot be reached.
attempt "in PyTorch's own index" "$asked" \
    --index-url https://download.pytorch.org/whl/cpu --timeout 15 --retries 1 && exit
echo "torch: no CPU build was found. The last resort is ${asked%+cpu} as PyPI has it: on Linux the CUDA"
echo 'torch: build, several GB with what it needs. Ctrl-C stops it; README.md, "Installing", has other ways'
install "${asked%+cpu}"
