"""Tables of Markdown, and the marked parts of the pages that they are put into."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lsg_jax import files

PAGES = (Path("README.md"), Path("results/findings.md"))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, ["---"] * len(heads), *rows))


def insert(page: str, name: str, content: str) -> str:
    """Returns ``page`` with the part between the marks of ``name`` replaced by ``content``."""
    pattern = rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)"
    if not re.search(pattern, page, re.DOTALL):
        raise ValueError(f"the page has no part marked <!-- {name} --> ... <!-- /{name} -->")
    return re.sub(pattern, lambda found: f"{found[1]}{content}\n{found[2]}", page, flags=re.DOTALL)


def page_of(name: str, root: Path = Path()) -> Path:
    """Returns which of the project's pages has the table ``name``. Raises ValueError where none has both marks."""
    for page in (root / each for each in PAGES):
        if page.is_file() and f"<!-- {name} -->\n" in (text := page.read_text("utf-8")):
            insert(text, name, "")
            return page
    pages = " nor ".join(map(str, PAGES))
    raise ValueError(f"neither {pages} here has a part marked <!-- {name} -->; run this in the project's folder")


def fill(tables: Mapping[str, str]) -> None:
    """Writes each table into the page that has a part marked with its name. Raises ValueError before it writes any."""
    texts: dict[Path, str] = {}
    for name, content in tables.items():
        page = page_of(name)
        texts[page] = insert(texts.get(page, page.read_text("utf-8")), name, content)
    for page, text in texts.items():
        files.publish_text(page, text)
