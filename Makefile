# GNU make. `make` alone says what there is.

# Debian's own Python where it is new enough, since that is what the sandbox is promised on: 3.11.2 on Debian 12, which
# lacks what later 3.11s repaired.
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell /usr/bin/python3 $(NEW_ENOUGH) 2>/dev/null && echo /usr/bin/python3 || echo python3)
WORKERS ?= 3
SEED ?= 1
PYTEST_OPTIONS ?=
# What `make torture` plays too where a cloud answers 503 or 429 or drops connections (tests/bad_days.py).
SPOILED := tests/unit tests/jobs tests/rehearsal

VENV := .venv/bin
STEP := .ci/step
SHELL_SCRIPTS = $(shell git ls-files '*.sh' .ci)
TERRAFORM = $(shell $(VENV)/python -m gcp_openemr.setup where-terraform)
CHECKOV = PYTHONPATH=$(shell $(VENV)/python -m gcp_openemr.setup where-checkov) $(VENV)/python -m checkov.main

# The sandbox runs containers in namespaces, which takes root. The user's home stays: MySQL is in its cache.
AS_ROOT = $(if $(filter 0,$(shell id -u)),,sudo env HOME="$$HOME" PATH="$$PATH")

# Terraform reads no settings of the machine's user here, and asks nobody for newer versions.
unexport TF_CLI_CONFIG_FILE TF_CLI_ARGS TF_DATA_DIR TF_WORKSPACE
export CHECKPOINT_DISABLE := 1
# Each of the hundreds of commands in the tests would compile the program anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help python setup development terraform-shim demo stop test pytest torture bench lock upgrade-locks wheel clean
.PHONY: kernel-nfs nfs-packages docs
.PHONY: lint lint-ruff lint-format lint-types lint-terraform lint-shell lint-docker lint-checkov

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
	  printf '  make %-15s %s\n' "$$name" "$$text"; done

demo: setup ## from nothing to a clinic that serves, in the sandbox on this machine
	@$(AS_ROOT) $(VENV)/python -m gcp_openemr.sandbox.demo

stop: ## stop the sandbox; its state stays
	@$(AS_ROOT) $(VENV)/gcp-openemr -e demo/openemr.toml sandbox stop

setup: python ## what `gcp-openemr --sandbox` needs: Debian packages, .venv, MySQL, Terraform
	@$(PYTHON) -m gcp_openemr.setup packages environment mysql
	@$(VENV)/python -m gcp_openemr.setup terraform

test: development ## everything: setup, linters, tests
	@$(STEP) lint $(MAKE) --no-print-directory --keep-going --jobs=2 --output-sync=target lint
	@$(STEP) pytest $(MAKE) --no-print-directory pytest

lint: lint-types lint-checkov lint-ruff lint-format lint-terraform lint-shell lint-docker ## the linters alone

pytest: ## the tests alone (WORKERS=3, PYTEST_OPTIONS='-k name')
	@$(AS_ROOT) .ci/offline $(VENV)/python -m pytest --numprocesses=$(WORKERS) $(PYTEST_OPTIONS)

torture: development nfs-packages ## kill points, faults, many random cases, and tests among the faults of SEED=1: takes long
	@$(AS_ROOT) .ci/offline $(VENV)/python -m pytest --numprocesses=$(WORKERS) --torture --hypothesis-profile=torture $(PYTEST_OPTIONS)
	@$(AS_ROOT) .ci/offline $(VENV)/python -m pytest --numprocesses=$(WORKERS) --faults=$(SEED) $(SPOILED)
	@$(AS_ROOT) .ci/offline $(VENV)/python -m pytest --numprocesses=0 --torture --faults=$(SEED) tests/rehearsal/test_operations.py

kernel-nfs: development nfs-packages ## the jobs on a real kernel's NFS, in User-Mode Linux
	@$(AS_ROOT) .ci/offline $(VENV)/python -m pytest --numprocesses=0 --torture tests/jobs/test_kernel_nfs.py

bench: setup ## the measurements in benchmarks/
	@$(AS_ROOT) $(VENV)/python -m benchmarks

nfs-packages:
	@$(AS_ROOT) sh gcp_openemr/setup/install_packages.sh user-mode-linux nfs-kernel-server nfs-common kmod >/dev/null

docs: ## write the generated parts of docs/ again
	@$(VENV)/python -m gcp_openemr.sandbox.checks --write docs/sandbox.md
	@$(VENV)/python -m tests.jobs.test_documentation

wheel: setup ## a wheel in dist/, the same for everybody who builds this commit
	@$(VENV)/python -m pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir dist .

terraform-shim: setup ## the Terraform of a Python wheel, even if there is another
	@$(VENV)/python -m gcp_openemr.setup terraform-shim

lock: python ## write the lock files again from pyproject.toml and jobs/requirements.txt
	@$(PYTHON) -m gcp_openemr.setup environment
	@$(VENV)/python -m gcp_openemr.setup lock

upgrade-locks: python ## the same with the newest versions
	@$(PYTHON) -m gcp_openemr.setup environment
	@$(VENV)/python -m gcp_openemr.setup upgrade-locks

clean: ## delete what was made from the sources; the sandbox's state and the cache stay
	rm -rf .venv .venv.lock build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# The parts of the above.

python:
	@$(PYTHON) $(NEW_ENOUGH) 2>/dev/null || \
	  { echo '$(PYTHON) is missing or older than Python 3.11. Install Python 3.11, or say PYTHON=/path/to/python3.11.' >&2; exit 71; }

# The shim is tested in every run: it is the engine of machines without Terraform, and nothing else would exercise it.
development: python
	@$(PYTHON) -m gcp_openemr.setup packages development mysql
	@$(VENV)/python -m gcp_openemr.setup terraform terraform-shim checkov

lint-ruff:
	@$(STEP) 'ruff check' $(VENV)/ruff check

lint-format:
	@$(STEP) 'ruff format' $(VENV)/ruff format --check --quiet

lint-types:
	@$(STEP) mypy $(VENV)/mypy

lint-terraform:
	@$(STEP) 'terraform fmt' $(TERRAFORM) fmt -check -recursive -diff terraform

lint-shell:
	@$(STEP) shellcheck $(VENV)/shellcheck $(filter-out container/%,$(SHELL_SCRIPTS))
	@$(STEP) 'shellcheck, busybox dialect' $(VENV)/shellcheck --shell=busybox $(filter container/%,$(SHELL_SCRIPTS))

lint-docker:
	@$(STEP) hadolint $(VENV)/hadolint container/Dockerfile

lint-checkov:
	@$(STEP) checkov env $(CHECKOV) --directory terraform --directory container \
	  --framework terraform dockerfile --quiet --compact --skip-download
