# Builds, tests, demonstrates and measures loopx. `make help` lists the targets.
#
# Works on a fresh Debian 12 with Python, pip, gcc and make: what is missing is installed from the
# distribution (with sudo unless root) and, into .venv, from the package index that pip uses.
# PYTHON chooses the interpreter, VENV its environment.

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
BENCH_ARGS ?=

SHELL := /bin/bash
export DEBIAN_FRONTEND := noninteractive
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -E)
VENV_PYTHON := $(VENV)/bin/python
# Other event loops for `make bench`; some have no wheel for some versions of Python.
PEERS := uvloop rloop blazio zloop zuvloop veloxloop loopmini rsloop uringcore kloop \
  aiofastnet
VERSIONS ?= 3.11 3.12 3.13 3.14 3.15
# More interpreters for `make test-all`: paths, for instance of a free-threaded build.
PYTHONS ?=
SANITIZED := build/sanitize
SANITIZE ?= address,undefined
PROFILED := build/profile
# Succeeds, with the extension's file, where it lies in the checkout as a wheel has it.
BUILT_AS_WHEEL = $(VENV_PYTHON) -c 'import loopx._core as core; \
  print(core.__file__); raise SystemExit(not core.FOLLOWS_PROFILE)' 2>/dev/null
# `make test-repeat`: how often one after the other, and how many at once after that.
RUNS ?= 20
PROCESSES ?= 4
# What runs under the sanitizers by default: the native code, without the slow ecosystems.
SANITIZE_TESTS ?= tests/ring tests/sched tests/parity

.DEFAULT_GOAL := help
.PHONY: help system system-browser system-demo system-bench system-ecosystem venv build test \
  test-all test-repeat test-ecosystem compatibility demo bench bench-check bench-report \
  sanitize stubtest profile build-as-wheel wheel clean
# A recipe that fails leaves no target behind that looks made.
.DELETE_ON_ERROR:

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-16s %s\n", $$1, $$2}'

# $(call apt,PACKAGES): the lists of a fresh machine may be missing or old, hence the second try.
apt = { command -v apt-get >/dev/null \
    || { echo "install these by hand, please: $(1)" >&2; exit 1; }; \
  $(SUDO) apt-get install -y --no-install-recommends $(1) \
    || { $(SUDO) apt-get update && $(SUDO) apt-get install -y --no-install-recommends $(1); }; }

# The packages of the system's own interpreter are looked for only if PYTHON lacks them.
system: ## install what the build needs of the distribution, if it is missing
	@missing=; \
	[ -f "$$($(CC) -print-file-name=liburing.a)" ] || missing="$$missing liburing-dev"; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
	$(PYTHON) -c 'import os, sysconfig; \
os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2>/dev/null \
	  || missing="$$missing python3-dev"; \
	if [ -n "$$missing" ]; then $(call apt,$$missing); fi

# `make test` does without: the tests that open the HTML report in it are then skipped.
system-browser: ## install the browser that the tests open the HTML report in, if it is missing
	@command -v chromium chromium-browser >/dev/null || { $(call apt,chromium); }

system-demo: system
	@command -v wrk >/dev/null || { $(call apt,wrk); }

# The echo rows with TLS need OpenSSL's headers for their load generator.
system-bench: system-demo
	@[ -f /usr/include/openssl/ssl.h ] || { $(call apt,libssl-dev); }

# The programs alone: the tests start them on ports and in folders of their own. A distribution may
# start its own instance of Redis or PostgreSQL when it installs them.
system-ecosystem: system
	@missing=; \
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$$missing postgresql"; \
	command -v redis-server >/dev/null || missing="$$missing redis-server"; \
	ls /usr/sbin/mariadbd /usr/bin/my_print_defaults >/dev/null 2>&1 \
	  || missing="$$missing mariadb-server-core mariadb-client-core"; \
	if [ -n "$$missing" ]; then $(call apt,$$missing); fi

# The environment sees the checkout itself, by a .pth file: an editable install would compile all
# over again each time.
$(VENV_PYTHON): | system
	$(PYTHON) -m venv $(VENV)
	@$(VENV_PYTHON) -c 'import os, pathlib, sysconfig; \
pathlib.Path(sysconfig.get_path("purelib"), "loopx-checkout.pth").write_text(os.getcwd() + "\n")'

# Stamps make the second time quick. pyproject.toml says what is installed, by kind: what building
# needs, and an optional extra.
$(VENV)/.installed-%: pyproject.toml | $(VENV_PYTHON)
	@$(VENV_PYTHON) -c 'import tomllib; \
every = tomllib.load(open("pyproject.toml", "rb")); \
extras = every["project"]["optional-dependencies"]; \
lists = every["build-system"]["requires"], every["project"]["dependencies"], extras.get("$*", []); \
print(*(name for names in lists for name in names), sep="\n")' > $(VENV)/requirements-$*.txt
	@$(VENV_PYTHON) -m pip install --quiet -r $(VENV)/requirements-$*.txt || while read -r each; do \
	  $(VENV_PYTHON) -m pip install --quiet --prefer-binary "$$each" 2>/dev/null \
	    || case $$each in \
	      cffi*) $(VENV_PYTHON) -m pip install --quiet 'cffi<2' || exit 1;; \
	      *) echo "$$each cannot be installed for this Python; it is left out";; \
	    esac; \
	done < $(VENV)/requirements-$*.txt
	@touch $@

$(VENV)/.installed-peers: $(VENV)/.installed-bench
	@for peer in $(PEERS); do \
	  $(VENV_PYTHON) -m pip install --quiet --only-binary :all: $$peer 2>/dev/null \
	    || echo "$$peer cannot be installed for this Python; it is left out"; \
	done
	@touch $@

venv: $(VENV)/.installed-test $(VENV)/.installed-demo ## make .venv with what tests and demo need

build: $(VENV)/.installed-build ## compile the extensions in place (only what has changed)
	$(VENV_PYTHON) setup.py --quiet build_ext --inplace $$($(BUILT_AS_WHEEL) >/dev/null && echo --force)

# The other loops are measured as their wheels have them. The next `build` compiles anew.
build-as-wheel: $(VENV)/.installed-bench ## compile the extensions in place as those of a wheel
	@core=$$($(BUILT_AS_WHEEL)) && [ -z "$$(find setup.py loopx \( -name '*.p[xy][xdi]' \
	  -o -name '*.[ch]' -o -name setup.py -o -name '*_build.py' \) -newer "$$core")" ] \
	|| { $(MAKE) --no-print-directory profile && \
	  LOOPX_PROFILE=$(abspath $(PROFILED))/_core.gcda $(VENV_PYTHON) setup.py --quiet build_ext \
	    --inplace --force; }

test: $(VENV)/.installed-test build ## build and run the tests (PYTEST_ARGS=...)
	$(VENV_PYTHON) -m pytest $(PYTEST_ARGS)

# Every interpreter on PATH or of pyenv, and those named in PYTHONS, each in an environment of its
# own. One of PYTHONS that can do without the GIL is run without it; such a one of pyenv ("3.13.2t")
# is not looked for, as it would stand in for an older one that cannot.
test-all: system ## run the tests on every Python from 3.11 to 3.15 found, and on $(PYTHONS)
	@found=; failed=; \
	for python in $(PYTHONS); do \
	  name=$$("$$python" -c 'import sysconfig; print(sysconfig.get_config_var("SOABI"))') || exit 1; \
	  gil=$$("$$python" -c 'import sysconfig; \
print("PYTHON_GIL=0" if sysconfig.get_config_var("Py_GIL_DISABLED") else "")'); \
	  found="$$found $$python"; echo "== $$name: $$python $$gil"; \
	  env $$gil $(MAKE) --no-print-directory test PYTHON="$$python" VENV=".venv-$$name" \
	    || failed="$$failed $$python"; \
	done; \
	for version in $(VERSIONS); do \
	  python=$$(ls -d "$$HOME"/.pyenv/versions/$$version.*[0-9]/bin/python$$version 2>/dev/null \
	    | sort -V | tail -n 1); \
	  [ -n "$$python" ] || python=$$(command -v python$$version) || continue; \
	  "$$python" -c 'import ssl, venv' 2>/dev/null || continue; \
	  found="$$found $$version"; echo "== Python $$version: $$python"; \
	  $(MAKE) --no-print-directory test PYTHON="$$python" VENV=.venv-$$version \
	    || failed="$$failed $$version"; \
	done; \
	echo "tested:$${found:- none}; failed:$${failed:- none}"; \
	[ -n "$$found" ] && [ -z "$$failed" ]

# Each time in another order, that of the --randomly-seed it prints.
test-repeat: $(VENV)/.installed-test build ## run the tests RUNS=20 times, then in PROCESSES=4 at once
	@for run in $$(seq $(RUNS)); do \
	  echo "== run $$run of $(RUNS)"; \
	  $(VENV_PYTHON) -m pytest -p randomly $(PYTEST_ARGS) || exit 1; \
	done
	@mkdir -p build; running=; failed=; \
	for process in $$(seq $(PROCESSES)); do \
	  LOOPX_TEST_SHARED_KERNEL=1 LOOPX_TEST_TIME_LIMIT=$$((60 * $(PROCESSES))) \
	    $(VENV_PYTHON) -m pytest -p randomly -p no:cacheprovider $(PYTEST_ARGS) \
	    >build/test-repeat-$$process.log 2>&1 & running="$$running $$!"; \
	done; \
	for process in $$running; do wait $$process || failed=1; done; \
	for process in $$(seq $(PROCESSES)); do \
	  log=build/test-repeat-$$process.log; echo "== $$process of $(PROCESSES) at once: $$log"; \
	  grep -E '^(FAILED|ERROR)|randomly-seed' $$log; tail -n 1 $$log; \
	done; [ -z "$$failed" ]

test-ecosystem: system-ecosystem $(VENV)/.installed-ecosystem build ## run real clients and servers
	$(VENV_PYTHON) -m pytest $(PYTEST_ARGS) tests/ecosystem

compatibility: system-ecosystem $(VENV)/.installed-ecosystem $(VENV)/.installed-test build ## write docs/compatibility.md
	$(VENV_PYTHON) -m tests.compatibility

demo: system-demo $(VENV)/.installed-demo build ## measure an aiohttp server on three loops
	$(VENV_PYTHON) -m bench.demo $(BENCH_ARGS)

bench: system-bench $(VENV)/.installed-peers build-as-wheel ## the whole comparison (BENCH_ARGS=...)
	$(VENV_PYTHON) -m bench.run $(BENCH_ARGS); status=$$?; \
	$(VENV_PYTHON) -m bench.html_report && exit $$status

bench-report: $(VENV)/.installed-bench ## write bench/report.html from what was recorded
	$(VENV_PYTHON) -m bench.html_report

# Neither builds the C limits nor installs the other loops; not part of `test`, as figures are noisy.
bench-check: system-bench build-as-wheel ## ratios to uvloop against the recorded ones: 3 minutes, once built
	$(VENV_PYTHON) -m bench.check $(BENCH_ARGS)

# A copy, so that sanitized extensions never lie in the checkout; times are kept, so that the
# second build is quick. Python's own memory at exit would drown real leaks. What is freed is kept
# for a while to catch who uses it after that, so memory in use is no longer a test's to look at.
sanitize: $(VENV)/.installed-test ## run the native tests under ASan and UBSan
	mkdir -p $(SANITIZED)
	rm -rf $(SANITIZED)/tests
	tar -c --exclude='*.so' --exclude=__pycache__ loopx tests setup.py pyproject.toml \
	  $$(ls README.md 2>/dev/null) | tar -x -C $(SANITIZED)
	cd $(SANITIZED) && LOOPX_SANITIZE=$(SANITIZE) $(abspath $(VENV_PYTHON)) setup.py --quiet \
	  build_ext --inplace
	cd $(SANITIZED) && \
	  LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
	  ASAN_OPTIONS=detect_leaks=0:$(ASAN_OPTIONS) UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	  PYTHONMALLOC=malloc LOOPX_TEST_TIME_LIMIT=300 \
	  $(abspath $(VENV_PYTHON)) -m pytest -p no:cacheprovider \
	  --deselect tests/parity/test_process_pipes.py::test_output_faster_than_it_is_read \
	  $(PYTEST_ARGS) $(SANITIZE_TESTS)

stubtest: $(VENV)/.installed-test build ## compare _core.pyi with the extension, check all types
	$(VENV_PYTHON) -m mypy
	$(VENV_PYTHON) -m mypy.stubtest --allowlist tests/stubtest_allowlist.txt loopx

# What the compiler is told of the workloads that docs/performance.md counts: which branches they
# take. A copy, so that the checkout's extensions stay as they are. The wheel is made by the same
# Cython, because a profile is of one C file.
profile: $(VENV)/.installed-bench ## take a compiler's profile of the hot paths
	rm -rf $(PROFILED) && mkdir -p $(PROFILED)
	tar -c --exclude='*.so' --exclude=__pycache__ loopx bench setup.py pyproject.toml README.md \
	  | tar -x -C $(PROFILED)
	cd $(PROFILED) && LOOPX_PROFILE=generate $(abspath $(VENV_PYTHON)) setup.py --quiet \
	  build_ext --inplace
	cd $(PROFILED) && $(abspath $(VENV_PYTHON)) -m bench.workloads --loop loopx
	cp "$$(find $(PROFILED)/build -name _core.gcda)" $(PROFILED)/

wheel: profile ## make dist/: an sdist and a wheel, optimised for a profile
	$(VENV_PYTHON) -m pip install --quiet build
	LOOPX_PROFILE=$(abspath $(PROFILED))/_core.gcda $(VENV_PYTHON) -m build --no-isolation
	$(VENV_PYTHON) -m tests.support.wheel dist/*.whl

clean: ## remove what was built, but keep the environments
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .hypothesis
	find loopx tests bench examples \( -name '*.so' -o -name __pycache__ \) -prune -exec rm -rf {} +
