# docker build -t predictor .
# docker run -p 9090:9090 -p 8080:8080 -v "$PWD/models:/models" predictor /models/classifier.pt

FROM python:3.11-slim-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN scripts/setup.sh /opt/predictor \
    && /opt/predictor/bin/python scripts/train_classifier.py --output /opt/predictor/models/classifier.pt

FROM python:3.11-slim-bookworm
# The environment holds absolute paths (libtorch's), so it lies where it was built.
COPY --from=build /opt/predictor /opt/predictor
RUN useradd --system --no-create-home --uid 10001 predictor
USER 10001
ENV PATH=/opt/predictor/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PREDICTOR_HOST=0.0.0.0
EXPOSE 9090 8080
# Healthy: alive, and every model warm.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/readyz', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["predictor-server"]
CMD ["/opt/predictor/models/classifier.pt"]
