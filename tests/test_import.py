"""``import palate`` is quick and brings in nothing heavy."""

import subprocess
import sys

import pytest

CODE = """
import sys, time
start = time.perf_counter()
import palate
print(time.perf_counter() - start)
print(sorted(name for name in ("torch", "polars", "numpy", "pandas", "sklearn", "fastapi") if name in sys.modules))
print(palate.__version__, "fit" in dir(palate))
"""


def test_import_palate_brings_in_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout.split("\n")
    assert done[1] == "[]"
    assert done[2].endswith("True")
    assert float(done[0]) < 3.0  # a floor against accidents; the measured figure stands in the documentation


def test_an_unknown_attribute_is_an_attribute_error():
    import palate

    with pytest.raises(AttributeError, match="no_such_thing"):
        palate.no_such_thing  # noqa: B018
