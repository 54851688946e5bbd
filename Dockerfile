# mass3d in a container: docs/how-to/docker.md says how it is built and run.
FROM python:3.12-slim-bookworm

# Versions as they were tested; of the lock, only what the program itself needs is installed.
WORKDIR /opt/mass3d
COPY pyproject.toml README.md LICENSE requirements.lock ./
COPY src ./src
# An index of packages to look at as well, such as that of torch's CPU builds.
ARG PIP_EXTRA_INDEX_URL
# Whoever runs it: nothing is written but into folders that are mounted.
RUN pip install --no-cache-dir --constraint requirements.lock '.[dicomseg,serve]' \
    && useradd --create-home --uid 1000 mass3d
USER 1000
WORKDIR /data

ENTRYPOINT ["mass3d"]
CMD ["--help"]
