"""The results of a run: one document, which is printed, written as JSON, and put into a page."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Document = Mapping[str, Any]

BEGIN = "<!-- What follows is written by `make bench KEEP=1` from performance.json. -->"
END = "<!-- The end of what is written. -->"


def print_document(document: Document) -> None:
    for table in document["tables"].values():
        print(f"\n{table['title']}\n")
        print_table(table["head"], table["rows"])
        for note in table["notes"]:
            print(f"  {note}")
    if document["aims"]:
        print("\nAims\n")
        print_table(*aims_table(document))
    for peer, reason in document["missing"].items():
        print(f"\nnot measured: {peer}: {reason}")


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    cells = [head, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join([first.strip().ljust(widths[0]), *rest]))


def aims_table(document: Document) -> tuple[list[str], list[list[str]]]:
    rows = [
        [
            aim["what"],
            f"{aim['measured']:.3g} {aim['unit']}",
            aim["bound"],
            "yes" if aim["met"] else "no",
        ]
        for aim in document["aims"]
    ]
    return ["aim", "measured", "wanted", "reached"], rows


def write_json(document: Document, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def write_page(document: Document, page: Path) -> None:
    """Replace what stands between the markers."""
    before, _, after = split_page(page)
    page.write_text(f"{before}{BEGIN}\n\n{render_page(document)}\n{END}{after}")


def split_page(page: Path) -> tuple[str, str, str]:
    """What comes before the markers, what is between them, and what comes after."""
    before, found, rest = page.read_text().partition(BEGIN)
    written, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"{page}: the markers are gone: {BEGIN} … {END}")
    return before, written.strip(), after


def render_page(document: Document) -> str:
    """What the page shows of a document, as Markdown."""
    parts = [render_facts(document)]
    if document["aims"]:
        parts += ["### Aims", render_table(*aims_table(document))]
    for table in document["tables"].values():
        parts += [f"### {table['title']}", render_table(table["head"], table["rows"])]
        parts += [one_line(note) for note in table["notes"]]
    if document["missing"]:
        parts.append("### Not measured")
        parts += [f"* {peer}: {one_line(reason)}" for peer, reason in document["missing"].items()]
    return "\n\n".join(parts) + "\n"


def one_line(text: str) -> str:
    """A reason may hold what a web server said: no markup, no line breaks, and not all of it."""
    return " ".join(text.replace("<", "‹").replace(">", "›").split())[:300]


def render_facts(document: Document) -> str:
    machine, options = document["machine"], document["options"]
    peers = ", ".join(f"{name} {version}" for name, version in document["peers"].items() if version)
    return (
        f"{machine['date'][:10]}: {machine['cores']} cores of {machine['cpu']},"
        f" {machine['memory_mib']:,} MiB, Linux {machine['kernel']};"
        f" {options['rounds']} rounds of {options['seconds']} s."
        f" `pyfpm` is {document['pyfpm']['pyfpm']}, `pyfpm plain` is"
        f" {document['pyfpm']['pyfpm plain']}.\n\n{peers}."
    )


def render_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
