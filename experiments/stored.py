"""The files in results/ that one command writes and another reads, and the version of each kind."""

import json
from pathlib import Path
from typing import Any

VERSIONS = {"report": 8, "tradeoff": 7, "ownership": 4}
_PARTS = {
    "report": ("networks", "trained", "claims"),
    "tradeoff": ("command", "measured", "runs", "claims", "alone", "untold", "effects", "arms", "schemes", "curves"),
    "ownership": ("command", "measured", "runs", "filters", "thresholds"),
}


def read(file: Path) -> dict[str, Any]:
    """Returns what report, tradeoff or ownership wrote. Raises ValueError where this version would write another."""
    kind = file.stem.split("-")[0]
    try:
        content = json_object(file)
    except ValueError:
        content = {}
    if content.get("version") != VERSIONS[kind]:
        raise ValueError(f"{file} was not written by this version; make it again")
    return _whole(file, content, kind, _PARTS[kind])


def claim(folder: Path, name: str) -> dict[str, Any] | None:
    """Returns what a claim's own command wrote to figures/, None where it is not there."""
    file = folder / "figures" / f"{name}.json"
    return _whole(file, json_object(file), name, ("title", "caption", "numbers")) if file.is_file() else None


def _whole(file: Path, content: dict[str, Any], command: str, parts: tuple[str, ...]) -> dict[str, Any]:
    if missing := [part for part in parts if part not in content]:
        raise ValueError(f"{file} has no {missing[0]!r}; make it again with experiments.{command}")
    return content


def json_object(file: Path, text: str | None = None) -> dict[str, Any]:
    """Returns the JSON object in a file, or in a ``text`` from it. Raises ValueError where there is none."""
    text = file.read_text("utf-8") if text is None else text
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds no JSON object where one belongs: {text[:40]!r}; make it again")
    return content
