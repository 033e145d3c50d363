"""The files in results/ that one command writes and another reads, and the version of each kind."""

import json
from pathlib import Path
from typing import Any

VERSIONS = {"report": 5, "tradeoff": 4, "ownership": 3}


def read(file: Path) -> dict[str, Any]:
    """Returns what report, tradeoff or ownership wrote. Raises ValueError where this version would write another."""
    try:
        content = json_object(file)
    except ValueError:
        content = {}
    if content.get("version") != VERSIONS[file.stem.split("-")[0]]:
        raise ValueError(f"{file} was not written by this version; make it again")
    return content


def claim(folder: Path, name: str) -> dict[str, Any] | None:
    """Returns what a claim's own command wrote to figures/, None where it is not there."""
    file = folder / "figures" / f"{name}.json"
    if not file.is_file():
        return None
    content = json_object(file)
    if missing := [each for each in ("title", "caption", "numbers") if each not in content]:
        raise ValueError(f"{file} has no {missing[0]!r}; make it again with experiments.{name}")
    return content


def json_object(file: Path, text: str | None = None) -> dict[str, Any]:
    """Returns the JSON object in a file, or in a ``text`` from it. Raises ValueError where there is none."""
    text = file.read_text() if text is None else text
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds no JSON object where one belongs: {text[:40]!r}; make it again")
    return content
