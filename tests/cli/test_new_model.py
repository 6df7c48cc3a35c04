"""The page "add a model in 15 minutes", followed to the letter in a folder of one's own."""

import os
import subprocess
import sys

import pytest

from palate.cli.new_model import write_model
from palate.errors import ConfigError


@pytest.mark.parametrize("kind", ["ranker", "next-item", "calibrator"])
def test_the_template_keeps_every_law_as_it_stands(kind, tmp_path):
    files = write_model("deep-tea", kind, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(files["test"])],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert "deep-tea" in files["page"].read_text()


def test_a_name_of_another_form_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="lower case"):
        write_model("DeepTea", "ranker", tmp_path)


def test_nothing_is_overwritten(tmp_path):
    write_model("deep-tea", "ranker", tmp_path)
    with pytest.raises(ConfigError, match="exists already"):
        write_model("deep-tea", "ranker", tmp_path)
