# `make build` makes the environment on first use and builds the extension into tigon/,
# incrementally; everything else depends on it.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
JOBS ?= 2
BUILD := build/native
SANITIZERS := thread address undefined

.PHONY: build test test-languages demo bench bench-networks bench-convolutions bench-memory bench-native bench-web bench-path bench-compile bench-launches bench-operators bench-products bench-data bench-check wasm soak torture fuzz mutate check docs golden sanitize clean bench-mpi bench-scaling

# What the build, the demo and the tests need, each with what is before it. Modules are compiled when
# they are imported: most never are.
PIP := -m pip install --quiet --no-compile
$(VENV)/.build-ready: pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) tools/requirements.py build | xargs $(PY) $(PIP)
	touch $@

$(VENV)/.demo-ready: $(VENV)/.build-ready
	$(PY) tools/requirements.py demo | xargs $(PY) $(PIP)
	touch $@

$(VENV)/.ready: $(VENV)/.demo-ready
	$(PY) tools/requirements.py test | xargs $(PY) $(PIP)
	touch $@

build: $(VENV)/.build-ready
	@mkdir -p build
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cmake -S . -B $(BUILD) -G Ninja \
	  -DCMAKE_BUILD_TYPE=Release -DTIGON_IN_PLACE=ON \
	  -DPython_EXECUTABLE="$(CURDIR)/$(PY)" > $(BUILD)-configure.log 2>&1 \
	  || { cat $(BUILD)-configure.log; exit 1; }
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cmake --build $(BUILD) -j $(JOBS)

# What examples/node needs, where there is npm, and where that reaches its registry.
NODE := examples/node/node_modules/.package-lock.json
$(NODE): examples/node/package-lock.json
	@if command -v npm > /dev/null; then \
	  npm ci --prefix examples/node --ignore-scripts --no-audit --no-fund --loglevel=error \
	    || echo "npm has not fetched what examples/node needs: its tests are skipped"; fi

# All tests, file by file, by as many processes as JOBS says; `make test TESTS=tests/gluon` runs a
# part.
TESTS ?= tests
test: build $(VENV)/.ready $(NODE)
	$(PY) -m pytest --numprocesses $(JOBS) --dist loadfile $(TESTS)

# Exported libraries called from Java, Scala and R, and modules of WebAssembly on a page in a browser,
# which take 600 MB of packages: Debian's (root installs them, others are told which) and a Java from
# PyPI.
LANGUAGES := default-jdk-headless libjna-java libeclipse-jdt-core-java scala r-base-core chromium
$(VENV)/.languages-ready: $(VENV)/.ready
	$(PY) tools/requirements.py languages | xargs $(PY) $(PIP)
	touch $@

test-languages: build $(VENV)/.languages-ready
	@missing=; for name in $(LANGUAGES); do \
	  dpkg-query -W -f '$${db:Status-Abbrev}' $$name 2> /dev/null | grep -q ^ii \
	    || missing="$$missing $$name"; done; \
	install="apt-get install --yes --no-install-recommends$$missing"; \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" != 0 ]; then echo "to be done as root: $$install"; exit 1; \
	else apt-get update && DEBIAN_FRONTEND=noninteractive $$install; fi
	$(PY) -m pytest -m languages tests/standalone

# The runtime of modules of WebAssembly anew, where its C has changed; needs `pip install tigon[export]`.
wasm: build
	PYTHONPATH=. $(PY) tools/wasm_runtime.py

# The main job: digits, imperatively and hybridized.
demo: build $(VENV)/.demo-ready
	PYTHONPATH=. $(PY) examples/digits.py --output demo-output

# Side by side with PyTorch, JAX, ONNX Runtime (those installed: `pip install tigon[bench]`), numpy.
bench: build $(VENV)/.demo-ready
	PYTHONPATH=. $(PY) benchmarks/run.py $(BENCH)

# Single operators beside PyTorch's; products of many shapes beside all peers.
bench-operators: build $(VENV)/.demo-ready
	PYTHONPATH=. $(PY) benchmarks/operators.py $(OPERATORS)

bench-products: build $(VENV)/.demo-ready
	PYTHONPATH=. $(PY) benchmarks/operators.py --products $(OPERATORS)

# Whole networks, inference and training, beside all peers; NETWORKS="--only encoder --rounds 3".
bench-networks: build $(VENV)/.demo-ready
	PYTHONPATH=. $(PY) benchmarks/networks.py $(NETWORKS)

# Convolutions of many shapes and their gradients; pooling and batch normalization.
bench-convolutions: build $(VENV)/.demo-ready
	PYTHONPATH=. $(PY) benchmarks/convolutions.py $(CONVOLUTIONS)

# The most memory of fresh processes that run or train a network.
bench-memory: build $(VENV)/.demo-ready
	PYTHONPATH=. $(PY) benchmarks/memory.py $(MEMORY)

# Exported libraries beside the same networks in Python; needs a C compiler.
bench-native: build $(VENV)/.demo-ready
	PYTHONPATH=. $(PY) benchmarks/native.py $(NATIVE)

# Exported modules of WebAssembly beside ONNX Runtime's, in Node, on one thread; npm brings the latter.
bench-web: build $(VENV)/.ready
	PYTHONPATH=. $(PY) benchmarks/web.py $(WEB)

# The parts of one call, in nanoseconds.
bench-path: build
	PYTHONPATH=. $(PY) benchmarks/path.py

# How long compiling takes, and how it grows; COMPILE="forward --repeats 5": some rows, more turns.
bench-compile: build
	PYTHONPATH=. $(PY) benchmarks/compiling.py $(COMPILE)

# Every launch of a training step, in microseconds.
bench-launches: build
	PYTHONPATH=. $(PY) benchmarks/launches.py

# Images from files to batches, beside PyTorch's DataLoader; needs Pillow.
bench-data: build $(VENV)/.ready
	PYTHONPATH=. $(PY) benchmarks/loading.py $(DATA)

# Ranks of MPI beside one process of as many threads, mpi4py, PyTorch's DistributedDataParallel;
# MPI="--only encoder --rounds 3".
bench-mpi: build $(VENV)/.ready
	PYTHONPATH=. $(PY) benchmarks/ranks.py $(MPI)

# How a step grows with the ranks on networks that are not here, simulated, and checked by runs;
# SCALING="--unchecked --write docs/distributed.md --chart docs/scaling.svg".
bench-scaling: build $(VENV)/.ready
	PYTHONPATH=. $(PY) benchmarks/scaling.py $(SCALING)

# Instructions of small programs against recorded counts; CHECK=--record records them.
bench-check: build
	PYTHONPATH=. $(PY) benchmarks/check.py $(CHECK)

# Ever new shapes for five minutes, or as many as SOAK says: memory must not grow.
soak: build
	PYTHONPATH=. $(PY) benchmarks/soak.py $(SOAK)

# Ranks killed at seeded moments, a hundred or as many as TORTURE says, then the first seed
# (TORTURE="20 7"): none may hang, none may do a step again.
torture: build $(VENV)/.ready
	PYTHONPATH=. $(PY) -m tests.distributed.torture $(or $(TORTURE),100)

# Random programs, imperatively against compiled: ten minutes, or as much as FUZZ says, in minutes
# (FUZZ=30m) or in programs (FUZZ=5000). Failing ones are shown as small as they get.
fuzz: build $(VENV)/.ready
	PYTHONPATH=. $(PY) -m tests.fuzz.program_runs $(FUZZ)

# Random small changes of the package: which ones no test notices. SECONDS, SEED, PART (gluon,metric),
# TRYING (tests that count), AT (tigon/metric.py:120-160), JOBS; see CONTRIBUTING.md.
TRYING ?= tests
mutate: build $(VENV)/.ready
	PYTHONPATH=. $(PY) -m tools.mutation --seconds $(or $(SECONDS),600) --seed $(or $(SEED),0) \
	  --part "$(PART)" --at "$(AT)" --tests "$(TRYING)" --jobs $(JOBS)

# What must hold before a commit, in under a minute.
check: $(VENV)/.ready
	$(PY) -m ruff check tigon tests examples benchmarks tools
	$(PY) -m ruff format --check tigon tests examples benchmarks tools
	$(VENV)/bin/clang-format --dry-run --Werror csrc/*/*.cpp csrc/*/*.h examples/*/*.c examples/*/*.cpp
	$(PY) -m mypy

# The pages of all operators, of differences, of bounds, of what is missing, of ONNX; the type stubs of nd and sym, from the operator records.
docs: build $(VENV)/.ready
	PYTHONPATH=. $(PY) tools/operators_page.py
	PYTHONPATH=. $(PY) tools/differences_page.py
	PYTHONPATH=. $(PY) tools/missing_page.py
	PYTHONPATH=. $(PY) -m tools.onnx_page
	PYTHONPATH=. $(PY) tools/stubs.py

# Write the golden texts anew; review the difference.
golden: build $(VENV)/.ready
	TIGON_UPDATE_GOLDEN=1 $(PY) -m pytest -q tests/golden

# Storage, pool, engine and programs without Python, under each set of sanitizers.
sanitize: $(VENV)/.ready
	@mkdir -p build
	@set -e; for kind in $(SANITIZERS); do \
	  folder=build/sanitize-$$(echo $$kind | tr , -); \
	  echo "== sanitizers: $$kind"; \
	  PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cmake -S . -B $$folder -G Ninja \
	    -DCMAKE_BUILD_TYPE=RelWithDebInfo -DTIGON_EXTENSION=OFF -DTIGON_CORE_TESTS=ON \
	    -DTIGON_SANITIZE=$$kind > $$folder.log 2>&1 || { cat $$folder.log; exit 1; }; \
	  PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cmake --build $$folder -j $(JOBS) > $$folder.log 2>&1 \
	    || { cat $$folder.log; exit 1; }; \
	  TSAN_OPTIONS=halt_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	    $$folder/core_tests; \
	done

clean:
	rm -rf build tigon/_native*.so tigon/library
