# Two images from one file:
#   docker build --target toolkit -t verifai .          everything: export, compile, prove, verify, audit, gate, demo
#   docker build --target auditor -t verifai-auditor .  what a verifier needs: no exporters, no PyTorch, not root, nothing writable
FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/verifai
COPY constraints.txt pyproject.toml README.md LICENSE NOTICE ./
COPY verifai ./verifai
RUN /opt/verifai/bin/pip install -c constraints.txt .

FROM python:3.11-slim-bookworm AS auditor
COPY --from=build /opt/verifai /opt/verifai
ENV PATH=/opt/verifai/bin:$PATH PYTHONDONTWRITEBYTECODE=1
RUN useradd --create-home --uid 10001 auditor
USER auditor
WORKDIR /work
ENTRYPOINT ["verifai"]
CMD ["--help"]

FROM auditor AS toolkit
USER root
COPY --from=build /src/constraints.txt /src/constraints.txt
COPY . /src
WORKDIR /src
# The checkout itself is installed, so that the demo finds circuits/ and fixtures/.
RUN /opt/verifai/bin/pip install --no-cache-dir -c constraints.txt -e '.[sklearn,images]' && chown -R auditor /src/circuits
USER auditor
# The kernels are compiled into the image, so that the first proof does not wait for the compiler.
ENV NUMBA_CACHE_DIR=/home/auditor/kernels
RUN verifai warm-up
CMD ["demo"]
