# docker build -t predictor:0.2.0 .
# docker run -p 127.0.0.1:9090:9090 -p 127.0.0.1:8080:8080 -v "$PWD/models:/models" predictor:0.2.0 /models/classifier.pt
#
# EXTRAS: optional dependencies of pyproject.toml, with commas (tflite,tensorflow,onnx,gs,s3,ray). TORCH=cuda: for graphics cards.
# TORCH_INDEX: a package index with PyTorch's builds for processors alone, which are small (docs/deploy.md).
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
ARG EXTRAS=tflite
ARG TORCH=cpu
ARG TORCH_INDEX=
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN scripts/setup.sh /opt/predictor "$EXTRAS" \
    && /opt/predictor/bin/python scripts/train_classifier.py --output /opt/predictor/models/classifier.pt \
    && /opt/predictor/bin/python scripts/fetch_models.py smart-reply --folder /opt/predictor/models
RUN /opt/predictor/bin/python scripts/slim_environment.py "$EXTRAS"

FROM python:${PYTHON}-slim-bookworm
COPY --from=build /opt/predictor /opt/predictor
RUN groupadd --gid 10001 predictor \
    && useradd --system --no-create-home --uid 10001 --gid 10001 predictor
USER 10001:10001
ENV PATH=/opt/predictor/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PREDICTOR_HOST=0.0.0.0 \
    PREDICTOR_INSECURE=true
EXPOSE 9090 8080
# Healthy: alive, and every model warm.
HEALTHCHECK --interval=10s --timeout=3s --start-period=600s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/readyz', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["predictor-server"]
CMD ["/opt/predictor/models/classifier.pt"]
