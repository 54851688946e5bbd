# mass3d in a container: docs/how-to/docker.md says how it is built and run.
FROM python:3.12-slim-bookworm

# Versions as they were tested; of the lock, only what the program itself needs is installed.
WORKDIR /opt/mass3d
COPY pyproject.toml README.md LICENSE requirements.lock ./
COPY src ./src
RUN pip install --no-cache-dir --constraint requirements.lock '.[dicomseg,serve]'

# Whoever runs it: nothing is written but into folders that are mounted.
RUN useradd --create-home --uid 1000 mass3d
USER mass3d
WORKDIR /data

ENTRYPOINT ["mass3d"]
CMD ["--help"]
