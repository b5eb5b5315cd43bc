# make demo   set up, then train, sparsify and test on generated scenes (eight minutes on two quiet cores)
# make test   set up, then the tests, in two processes; without those that take long
# make test-slow  those: whole runs of the command lines, engines, killed runs
# make test-all   all of them, every Swin config of the hosts, and make faults
# make faults kill toy runs at 20 moments (FAULTS=20), in one process and in two, and resume them;
#             its tables lie in work_dirs/faults
# make lint   set up, then ruff and mypy
# make docs   set up, then build the documentation's site into work_dirs/site; links are checked
# make wheels check that pip finds a wheel of everything for each supported Python; installs nothing
# make setup  set up alone; MMCV=compiled takes mmcv with its own operators instead of mmcv-lite,
#             STACK=onedl the hosts' maintained forks, in an environment of their own (all targets)
PYTHON ?= python3
WORKERS ?= 2
MMCV ?=
STACK ?=
FAULTS ?= 20
VENV := $(if $(filter onedl,$(STACK)),.venv-onedl,.venv)
DEMO := work_dirs/demo

# A worker that dies ends the run and names its test: xdist's loadfile may wait for ever otherwise.
PYTEST := $(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile --max-worker-restart 0

.PHONY: demo test test-slow test-all faults lint docs setup wheels

setup:
	@$(PYTHON) tools/setup_env.py $(VENV) --mmcv "$(MMCV)" --stack "$(STACK)"

demo: setup
	@$(VENV)/bin/python tools/demo.py --work-dir $(DEMO)

test: setup
	$(PYTEST) -m "not slow and not campaign" $(PYTEST_ARGS)

test-slow: setup
	$(PYTEST) -m "slow and not campaign" $(PYTEST_ARGS)

test-all: setup faults
	$(PYTEST) $(PYTEST_ARGS)

faults: setup
	FAULTS=$(FAULTS) FAULTS_TABLES=work_dirs/faults \
		$(VENV)/bin/python -m pytest -s -q tests/faults/test_kills.py -k same_end

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Of the site's packages some are others' in other versions: they lie apart, for this target alone.
docs: setup
	@test -d $(VENV)/docs_packages || $(VENV)/bin/python -m pip install --quiet --target $(VENV)/docs_packages \
		-r requirements/docs.txt
	PYTHONPATH=$(VENV)/docs_packages $(VENV)/bin/python -m mkdocs build --quiet --strict

wheels: setup
	for version in 3.10 3.11 3.12; do \
		$(VENV)/bin/python -m pip install --quiet --dry-run --ignore-installed --target none \
			--python-version $$version --only-binary=:all: -r requirements/build.txt \
			-r requirements/mmcv-lite.txt -r requirements/runtime.txt -r requirements/tests.txt \
			|| exit 1; \
	done
