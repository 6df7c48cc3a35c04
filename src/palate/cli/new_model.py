"""``palate new-model``: the file, the test and the page of a new model, from a template that already runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from palate.cli.output import finish
from palate.errors import ConfigError

__all__ = ["new_model", "write_model"]

ModelKind = Literal["ranker", "next-item", "calibrator"]
_ROOMS: dict[ModelKind, tuple[str, str]] = {
    "ranker": ("rank", "check_ranker"),
    "next-item": ("sequence", "check_next_item_model"),
    "calibrator": ("calibrate", "check_calibrator"),
}


def new_model(name: str, *, kind: ModelKind = "ranker", out: Path | None = None, json: bool = False) -> None:
    """Write a model that runs, its test and its page.

    Args:
        name: Public name: lower case, words joined by hyphens.
        kind: Which contract it keeps.
        out: Folder of your own package; without it the files go into this checkout of Palate.
        json: Print JSON.
    """
    files = write_model(name, kind, out)
    lines = [f"wrote {what}: {path}" for what, path in files.items()]
    lines.append(f"Try it: python -m pytest {files['test']}")
    if out is not None:
        lines.append(
            "Let Palate find it: in your pyproject.toml\n"
            f'  [project.entry-points."palate.components"]\n  {files["model"].stem} = "{files["model"].stem}"'
        )
    finish({what: str(path) for what, path in files.items()}, "\n".join(lines), machine=json)


def write_model(name: str, kind: ModelKind, out: Path | None = None) -> dict[str, Path]:
    """Write the three files and return their paths.

    Raises:
        ConfigError: If the name is not a public name, a file exists, or there is no checkout to write into.
    """
    if re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) is None:
        raise ConfigError(f'"{name}" is not a public name.', remedy='Use lower case and hyphens, such as "deep-tea".')
    room, check = _ROOMS[kind]
    stem = name.replace("-", "_")
    if out is None:
        root = _checkout()
        model, test = root / f"src/palate/{room}/{stem}.py", root / f"tests/{room}/test_{stem}.py"
        page, module = root / f"docs/models/{name}.md", f"palate.{room}.{stem}"
    else:
        model, test, page, module = out / f"{stem}.py", out / f"test_{stem}.py", out / f"{name}.md", stem
    words = {
        "name": name,
        "kind": kind,
        "kind_word": kind.replace("-", "_"),
        "check": check,
        "module": module,
        "class": "".join(word.capitalize() for word in name.split("-")),
    }
    files = {"model": model, "test": test, "page": page}
    for path in files.values():
        if path.exists():
            raise ConfigError(f"{path} exists already.", remedy="Choose another name, or remove it first.")
    for what, template in (("model", f"{kind}.py.txt"), ("test", "test.py.txt"), ("page", "page.md.txt")):
        files[what].parent.mkdir(parents=True, exist_ok=True)
        files[what].write_text(_fill(template, words), encoding="utf-8")
    return files


def _fill(template: str, words: dict[str, str]) -> str:
    from importlib.resources import files
    from string import Template

    text = files("palate.cli").joinpath("templates", template).read_text(encoding="utf-8")
    return Template(text).safe_substitute(words)


def _checkout() -> Path:
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "src/palate/registry.py").is_file():
            return folder
    raise ConfigError("This is not a checkout of Palate.", remedy="Name a folder of your own: --out my_package")
