# Short names for the commands in README.md; PYTHON may be any environment with the extra `test`.
PYTHON ?= .venv/bin/python

.PHONY: train test bench lint clean

.venv/bin/python:
	python3 -m venv .venv
	.venv/bin/pip install -e ".[test]"

train: $(PYTHON)
	$(PYTHON) -m fastconv train

test: $(PYTHON)
	$(PYTHON) -m pytest

bench: $(PYTHON)
	$(PYTHON) bench/compare.py

lint: $(PYTHON)
	$(PYTHON) -m pytest tests/test_lint.py

clean:
	rm -rf build dist *.egg-info fastconv-lenet5 fastconv-search .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	rm -f kernels/*.so
