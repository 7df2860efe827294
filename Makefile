# demo, run, test, lint, types and bench set up .venv first: a bare Debian 12 with git, make and Python 3.11 is enough.
PYTHON ?= python3
BIN := .venv/bin
COMFYUI ?= http://127.0.0.1:8188
PORT ?= 8190

.DEFAULT_GOAL := help
.PHONY: help demo run test lint types bench lock clean

help:  ## what can be done here
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: .venv/ready  ## the gateway in front of a simulated ComfyUI, with two users and a curl line that makes a picture
	$(BIN)/comfy-gateway demo --port $(PORT)

run: .venv/ready  ## the gateway in front of a real ComfyUI: make run COMFYUI=http://127.0.0.1:8188
	$(BIN)/comfy-gateway serve --comfyui $(COMFYUI) --port $(PORT)

test: .venv/ready-dev  ## all tests, on up to four cores; COMFYUI_URL=http://… runs the end-to-end tests against that ComfyUI too
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal

lint: .venv/ready-dev  ## ruff
	$(BIN)/ruff check .

types: .venv/ready-dev  ## mypy, strict
	$(BIN)/mypy

bench: .venv/ready-dev  ## direct, nginx, Caddy and the gateway side by side; needs wrk, and nginx and caddy where they are to be compared
	$(BIN)/python -m bench

lock:  ## renew the locked dependencies (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade pyproject.toml --group build -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade pyproject.toml --group build --group dev -o requirements-dev.lock

clean:  ## remove what the other verbs made
	rm -rf .venv .mypy_cache .ruff_cache .hypothesis tests/artifacts

# Debian splits venv off Python; where it is missing and we are root, it is installed, else said.
.venv/bin/python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -q && apt-get install -yq --no-install-recommends python3-venv; \
	  else echo "Python's venv is missing. Install it first: sudo apt-get install python3-venv" >&2; exit 1; fi; }
	$(PYTHON) -m venv .venv

.venv/ready: requirements.lock pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv/ready-dev: requirements-dev.lock pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@ .venv/ready
