# Every target makes .venv first where it is missing or out of date: nothing else has to be typed.
#   make                 this list          make test            every check (.ci/run calls it)
#   make study           the demo study     make smoke           the same study at toy size
#   make study PROFILE=paper                make lab             JupyterLab in notebooks/
#   make study ARGS="--help"                make data NAME=mvtec fetch a dataset
#   make test-browser    JupyterLab and the book's pages in a headless Chromium, to be installed by
#                        .venv/bin/playwright install --with-deps chromium, or apt install chromium
#   make app             from photographs to a detector in the browser; make test-app tries it in one
#   make bench           speed and memory beside the peers, into results/bench
#   make test-slurm      the smoke study on a real Slurm, started for it: as root, with Debian's
#                        slurm-wlm and munge installed
#   make test-faults     the smoke study killed, stopped and doubled: results/reliability.md
#   make book            the course and the study as a site: build/book/site/index.html
#   make chapters        the course executed for it, where results/demo/notebooks has no copy of today
#   make format          tidy code and notebooks before a commit
#   make coverage        the tests, and what share of the library they run through
#   make fuzz            damaged pictures through the decoder for minutes: ARGS="--minutes 5"
#   make errors          docs/ERRORS.md, from the wrong inputs that the tests draw
#   make lock            requirements.lock and environment.yml from pyproject.toml
#   make clean           remove caches, half-made runs, the smoke study and build/; keeps .venv, data/,
#                        the other results and anomalib's environment, build/peers
# PYTHON=/path/to/python chooses the interpreter that .venv is made with (3.11 or later).
# Kept to what GNU make 3.81 (macOS) and a plain POSIX shell can do.

PROFILE ?= demo
NAME ?= mini
ARGS ?=
PYTHON ?=
WORKERS ?= 2

BIN = .venv/bin
# What `make test` makes, in the folder of this name, is made anew each time.
TRIAL = build/test

# Where writing byte code is switched off, every process compiles torch anew: 8 CPU seconds each.
export PYTHONDONTWRITEBYTECODE =

# torch's threads spin while they wait, which costs tenfold when two runs share two cores.
export OMP_WAIT_POLICY = PASSIVE

.PHONY: app chapters test-app bench help study smoke test coverage fuzz errors test-faults test-slurm test-browser lint lab book data format lock clean
.DELETE_ON_ERROR:

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

study: .venv/.ready
	$(BIN)/pouta study --profile $(PROFILE) $(ARGS)

smoke: .venv/.ready
	$(BIN)/pouta study --profile smoke $(ARGS)

data: .venv/.ready
	$(BIN)/pouta data $(if $(filter mini,$(NAME)),mini,get $(NAME)) $(ARGS)

lab: .venv/.ready
	cd notebooks && ../$(BIN)/python -m jupyterlab $(ARGS)

# Sphinx and its theme are the extra `book`, and come when they are first asked for.
book: .venv/.book
	$(BIN)/python tools/build_book.py $(ARGS)

# At the demo profile, from weights in results/demo: half an hour for all of them.
chapters: .venv/.ready
	$(BIN)/python tools/chapters.py $(ARGS)

# Panel is the extra `app`, and comes when it is first asked for.
app: .venv/.app
	$(BIN)/pouta app $(ARGS)

test-app: .venv/.app
	OMP_NUM_THREADS=2 $(BIN)/python -m pytest tests/house/browser_app.py $(ARGS)

# The smoke study comes before pytest because notebooks that draw tables read its runs, and the book
# is built from it.
test: lint .venv/.book
	rm -rf $(TRIAL)
	mkdir -p $(TRIAL)
	POUTA_DATA="$$PWD/$(TRIAL)/data" POUTA_RESULTS="$$PWD/$(TRIAL)/results" \
	POUTA_FIGURES="$$PWD/$(TRIAL)/figures" POUTA_DEVICE="$${POUTA_DEVICE:-cpu}" \
	$(BIN)/pouta study --profile smoke
	POUTA_TRIAL="$$PWD/$(TRIAL)" OMP_NUM_THREADS=1 \
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

# The same two steps, measured, with the processes that they start. The lines that nothing ran
# through: build/coverage/html/index.html.
coverage: .venv/.ready
	rm -rf $(TRIAL) build/coverage
	mkdir -p $(TRIAL) build/coverage
	POUTA_DATA="$$PWD/$(TRIAL)/data" POUTA_RESULTS="$$PWD/$(TRIAL)/results" \
	POUTA_FIGURES="$$PWD/$(TRIAL)/figures" POUTA_DEVICE="$${POUTA_DEVICE:-cpu}" \
	$(BIN)/coverage run $(BIN)/pouta study --profile smoke
	POUTA_TRIAL="$$PWD/$(TRIAL)" OMP_NUM_THREADS=1 \
	$(BIN)/coverage run -m pytest -n $(WORKERS) $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage html --quiet --fail-under=0
	$(BIN)/coverage report

test-faults: .venv/.ready
	$(BIN)/python tools/faults.py $(ARGS)

fuzz: .venv/.ready
	OMP_NUM_THREADS=1 $(BIN)/python tools/fuzz_images.py $(ARGS)

errors: .venv/.ready
	$(BIN)/python tools/errors_page.py

test-slurm: .venv/.slurm
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -s tests/slurm/study_on_slurm.py $(ARGS)

test-browser: .venv/.book
	OMP_NUM_THREADS=2 $(BIN)/python -m pytest tests/house/browser_*.py $(ARGS)

bench: .venv/.ready
	$(BIN)/python benchmarks/bench.py $(ARGS)

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/mypy
	$(BIN)/python tools/clean_notebooks.py --check notebooks

format: .venv/.ready
	$(BIN)/python tools/clean_notebooks.py notebooks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: .venv/.ready
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
	  --extra dev --extra patchcore pyproject.toml --output-file requirements.lock $(ARGS) > /dev/null
	sed '/^  - pip:/q' environment.yml > environment.yml.new
	sed -n '/^[a-z].*==/{ s/ *\\$$//; s/.*/      - "&"/; p; }' requirements.lock \
	  >> environment.yml.new
	echo '      - "-e ."' >> environment.yml.new
	mv environment.yml.new environment.yml

clean:
	if [ -d build ]; then find build -mindepth 1 -maxdepth 1 ! -name peers -exec rm -rf {} +; fi
	rm -rf .mypy_cache .pytest_cache .ruff_cache results/smoke figures/smoke
	find pouta_lib tests notebooks -name __pycache__ -type d -prune -exec rm -rf {} +
	find notebooks -name .ipynb_checkpoints -type d -prune -exec rm -rf {} +
	for folder in results figures; do if [ -d $$folder ]; then \
	  find $$folder \( -name '*.partial' -o -name '.*.tmp' \) -prune -exec rm -rf {} +; fi; done

# Two stamps: the locked packages (made from nothing when the lock changes, or when an earlier
# attempt was cut short) and, quick, this package itself.
.venv/.ready: .venv/.locked pyproject.toml
	$(BIN)/python -m pip install --quiet --no-index --no-deps --no-build-isolation -e .
	@touch $@

.venv/.app .venv/.book .venv/.slurm: .venv/.%: .venv/.ready
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r pyproject.toml --extra $*
	@touch $@

# The base interpreter is asked for, since `python3` may be that of the .venv to be removed.
.venv/.locked: requirements.lock
	@if [ -n "$(PYTHON)" ]; then set -- "$(PYTHON)"; \
	else set -- python3.11 python3.12 python3.13 python3 python; fi; \
	for candidate; do \
	  base=$$("$$candidate" -c 'import ensurepip, sys, venv; \
	    sys.exit(1) if sys.version_info < (3, 11) else print(sys._base_executable)' \
	    2> /dev/null) && break; \
	  base=; \
	done; \
	if [ -z "$$base" ]; then \
	  echo "expected Python 3.11 or later with its venv module, found none as: $$*" >&2; \
	  echo "  to do: install one (Debian: apt install python3-venv, macOS: brew install" \
	       "python@3.11), or name it: make PYTHON=/path/to/python" >&2; \
	  exit 1; \
	fi; \
	echo "Making .venv with $$base (up to 6 GB; half a minute to five minutes)"; \
	rm -rf .venv && "$$base" -m venv .venv
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.txt
	@{ $(BIN)/python -m pip install --quiet --no-deps --only-binary :all: --require-hashes \
	     -r .venv/uv.txt && \
	   $(BIN)/uv pip install --python $(BIN)/python --require-hashes -r requirements.lock; } || \
	{ echo "uv could not install the packages; pip will, in about three minutes" >&2; \
	  $(BIN)/python -m pip install --require-hashes -r requirements.lock; }
	@touch $@
