# One command each; all work in a virtual environment that they make themselves.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
MODEL ?= zoo:light/squeezenet
PYTEST_FLAGS ?= -n auto --dist worksteal
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_NO_INPUT = 1

.PHONY: help demo test test-all test-vulkan lint links docs clean

help:
	@echo "make demo      compile and run a network, compare it with ONNX Runtime, list its launches"
	@echo "make test      lint, types and tests"
	@echo "make test-all  the same with the slow tests"
	@echo "make test-vulkan  every test that runs shaders or validates them, the slow ones too, and nothing else"
	@echo "make lint      ruff and mypy"
	@echo "make docs      write docs/reference from the ops and passes"
	@echo "make clean     remove everything that was made, the virtual environment included"

demo: $(STAMP)
	$(BIN)/python tools/demo.py $(MODEL)

# Without a Vulkan driver, the tests that run shaders are skipped; the first line says how to get one.
# Without Chromium, the tests that click through the page of `mlirfuse explain --html` are skipped; pytest says so.
# All three run, so that one failure does not hide another; pytest's summary is the last line.
# `make test-all` takes about an hour: one that was cut off or failed goes on where it was (test/resuming.py).
test test-all: $(STAMP) links
	@$(BIN)/python tools/vulkan_driver.py
	@status=0; \
	echo "ruff check"; $(BIN)/ruff check . || status=1; \
	echo "mypy"; $(BIN)/mypy || status=1; \
	$(BIN)/python -m pytest $(PYTEST_FLAGS) $(if $(filter test-all,$@),-m "" --resume) < /dev/null || status=1; \
	exit $$status

# Kernel templates, blocks of layers, planted defects, the table's cells and whole networks on the Vulkan driver that is
# here, against the definitions, the simulator and ONNX Runtime; and that no shared code asks for a target's name.
SHADER_TESTS = test/unit/vulkan test/unit/spirv test/unit/test_target_names.py test/networks/test_vulkan_networks.py \
  test/networks/test_half_networks.py test/conformance/test_table_cells.py
test-vulkan: $(STAMP) links
	@$(BIN)/python tools/vulkan_driver.py
	@$(BIN)/python -m pytest $(PYTEST_FLAGS) -m "" $(SHADER_TESTS) \
	  -k "not test_table_cells or vulkan or simulator" < /dev/null

lint: $(STAMP) links
	$(BIN)/ruff check .
	$(BIN)/mypy

# The installed layout as links, for mypy.
links: $(STAMP)
	@$(BIN)/cmake -S . -B build -DPython3_EXECUTABLE=$(abspath $(BIN)/python) > /dev/null

docs: $(STAMP)
	$(BIN)/python tools/generate_docs.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))" || \
	  { echo "mlirfuse needs Python 3.11 to 3.13; choose one with make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	@touch $@
