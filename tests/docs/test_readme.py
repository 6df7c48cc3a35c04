"""The README is true: every command of its walk runs, and so does its Python."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import polars as pl
import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def walk():
    block = re.search(r"```console\n(.*?)```", README, re.DOTALL)[1]
    return [line.removeprefix("$ ") for line in block.strip().splitlines()]


def write_log(folder):
    rng = np.random.default_rng(0)
    names = ["Green tea", "Teapot", *(f"Tea no. {n}" for n in range(3, 61))]
    people = ["ann", "bo", "cy", *(f"p{n}" for n in range(57))]
    rows = 2000
    log = pl.DataFrame(
        {
            "customer": rng.choice(people, rows),
            "product": rng.integers(100, 160, rows),
            "stars": rng.integers(1, 6, rows),
            "when": 1_700_000_000 + np.arange(rows) * 60,
        }
    ).unique(["customer", "product"], maintain_order=True)
    log.write_csv(folder / "clicks.csv")
    pl.DataFrame({"product": np.arange(100, 160), "name": names}).write_csv(folder / "products.csv")


def palate(command, folder):
    words = [sys.executable, "-m", "palate", *shlex.split(command)[1:]]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_the_walk_from_pip_install_to_a_served_answer(tmp_path):
    write_log(tmp_path)
    commands = walk()
    assert commands[0] == 'pip install "palate[serve]"'
    serving = [command for command in commands if command.startswith("palate serve")]
    assert len(serving) == 1
    assert commands[-1].startswith("curl")
    for command in commands[1:-2]:
        done = palate(command, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        if command.startswith("palate recommend"):
            assert done.stdout.count("Tea no.") >= 3, done.stdout
    server = subprocess.Popen(
        [sys.executable, "-m", "palate", *shlex.split(serving[0])[1:]], cwd=tmp_path, stderr=subprocess.PIPE
    )
    try:
        answer = ask(commands[-1], server)
    finally:
        server.terminate()
        server.wait(20)
        server.stderr.close()
    assert [item["rank"] for item in answer["items"]] == [1, 2, 3, 4, 5]
    assert answer["user_known"]


def ask(command, server):
    """Run the walk's curl (or the same request without curl) once the service is up."""
    words = shlex.split(command)
    url, body = next(w for w in words if w.startswith("http")), words[words.index("--data") + 1]
    health = url.rsplit("/", 1)[0] + "/health"
    for _ in range(300):
        assert server.poll() is None, server.stderr.read().decode()
        try:
            urllib.request.urlopen(health, timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    if shutil.which("curl"):
        return json.loads(subprocess.run(words, capture_output=True, text=True, timeout=30, check=True).stdout)
    request = urllib.request.Request(url, body.encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(re.search(r"```python\n(.*?)```", README, re.DOTALL)[1], "README.md", "exec"), {})
    assert (tmp_path / "runs/mine/CARD.md").is_file()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_link_leads_somewhere(target):
    assert target.startswith("http") or (ROOT / target).exists()


def test_the_page_of_results_tells_what_the_files_tell():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from generate_results import page
    finally:
        sys.path.pop(0)
    assert (ROOT / "docs/results.md").read_text(encoding="utf-8") == page(ROOT)
