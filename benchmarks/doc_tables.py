"""Write the tables of the README and of docs from what the benchmarks left in `results/`: no figure is typed by hand.

python benchmarks/doc_tables.py            # rewrites what is between the markers
python benchmarks/doc_tables.py --check    # status 1 if that would change anything
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import domain_tables
import speed_tables

ROOT = Path(__file__).resolve().parents[1]
PAGES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "README.md": {
        "labels": domain_tables.labels_table,
        "latency": speed_tables.latency_table,
        "serving": speed_tables.serving_table,
    },
    "docs/mixed-domain.md": {
        "few labels": domain_tables.few_labels_table,
        "more labels": domain_tables.more_labels_table,
        "two auxiliary domains": domain_tables.three_domains_table,
        "ablation": domain_tables.ablation_table,
        "windows": domain_tables.windows_table,
        "unseen": domain_tables.unseen_table,
    },
}


def main() -> None:
    """Rewrite or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing; status 1 if a page is out of date")
    check = parser.parse_args().check
    for page, tables in PAGES.items():
        path = ROOT / page
        before = after = path.read_text()
        for name, table in tables.items():
            after = replaced(after, page, name, table())
        if check and after != before:
            sys.exit(f"{page} is out of date: run benchmarks/doc_tables.py")
        path.write_text(after)


def replaced(text: str, page: str, name: str, table: str) -> str:
    """Put a table between its markers."""
    begin, end = f"<!-- {name}: written by benchmarks/doc_tables.py -->", f"<!-- end of {name} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        sys.exit(f"{page} must have the markers of {name} once")
    head, rest = text.split(begin)
    return f"{head}{begin}\n\n{table}\n\n{end}{rest.split(end)[1]}"


if __name__ == "__main__":
    main()
