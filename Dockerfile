# docker build -t degradation .                          for GPUs (CUDA; the host needs NVIDIA's toolkit)
# docker build -t degradation:cpu --build-arg TORCH=cpu .
# docker run --rm --gpus all -v "$PWD/runs:/work/runs" -v "$PWD/data:/work/data" degradation +sweeps=figure6
#
# Where curves must be equal to the byte, versions and devices must be, too: tag what you built.
FROM python:3.12-slim

# cu128 or another of https://download.pytorch.org/whl: a build that the host's driver takes; or cpu.
ARG TORCH=cu128
RUN pip install --no-cache-dir torch --index-url "https://download.pytorch.org/whl/${TORCH}"

WORKDIR /src
COPY pyproject.toml README.md ./
COPY degradation degradation
COPY conf conf
COPY sweeps sweeps
COPY analysis analysis
RUN pip install --no-cache-dir '.[joblib,slurm]'

# Numerics that compile need a compiler (numerics=fast on a GPU, native on a CPU); reference doesn't.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /work
ENTRYPOINT ["degradation"]
CMD ["+sweeps=quickstart"]
