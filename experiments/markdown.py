"""Tables of Markdown, and the marked parts of a page that they are put into."""

import re
from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, ["---"] * len(heads), *rows))


def insert(page: str, name: str, content: str) -> str:
    """Returns ``page`` with the part between the marks of ``name`` replaced by ``content``."""
    pattern = rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)"
    if not re.search(pattern, page, re.DOTALL):
        raise ValueError(f"README.md has no part marked <!-- {name} --> ... <!-- /{name} -->")
    return re.sub(pattern, lambda found: f"{found[1]}{content}\n{found[2]}", page, flags=re.DOTALL)
