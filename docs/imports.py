"""Draw `docs/imports.svg`: the imports between folders and modules.

    uv run python docs/imports.py

Each package is a band, and every import points down. Imports that others imply are left out.
"""

import sys
from pathlib import Path

import networkx as nx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from tests.imports import PACKAGES, folder_edges  # noqa: E402

WIDTH, ROW, BOX, MARGIN, LABEL = 1280, 64, 24, 20, 110
COLOURS: dict[str, str] = dict(zip(PACKAGES, ("#7c3aed", "#2563eb", "#059669", "#b45309", "#be123c"), strict=True))
Place = tuple[float, float, float]
"""Left edge, top edge and width of a box."""


def graph() -> "nx.DiGraph[str]":
    """Imports between folders, without those that others imply.

    Raises:
        networkx.NetworkXUnfeasible: the imports have a circle.
    """
    found = nx.DiGraph({name: sorted(others) for name, others in folder_edges().items()})
    found.remove_nodes_from(PACKAGES)  # their `__init__.py` are empty
    return nx.transitive_reduction(found)


def rows(imports: "nx.DiGraph[str]") -> list[list[str]]:
    """Names of the boxes by row, from the top: package after package, with importers above the modules they import."""
    found: list[list[str]] = []
    for package in PACKAGES:
        inside = imports.subgraph([name for name in imports if name.partition(".")[0] == package])
        found += [sorted(row) for row in nx.topological_generations(inside)]
    return found


def placed(found: list[list[str]]) -> dict[str, Place]:
    """Place of each box."""
    places: dict[str, Place] = {}
    for number, row in enumerate(found):
        share = (WIDTH - LABEL - 2 * MARGIN) / len(row)
        for position, name in enumerate(row):
            width = min(share - 10, 7.2 * len(name) + 16)
            left = LABEL + MARGIN + position * share + (share - width) / 2
            places[name] = (left, MARGIN + number * ROW, width)
    return places


def svg() -> str:
    """The drawing as SVG."""
    imports = graph()
    found = rows(imports)
    places = placed(found)
    height = 2 * MARGIN + ROW * len(found)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="12">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#666"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    parts += [_arrow(places[name], places[other]) for name, other in sorted(imports.edges)]
    parts += [_box(name, place) for name, place in places.items()]
    return "\n".join([*parts, *_labels(found), "</svg>"]) + "\n"


def _arrow(start: Place, end: Place) -> str:
    x, y = start[0] + start[2] / 2, start[1] + BOX
    to_x, to_y = end[0] + end[2] / 2, end[1]
    bend = (to_y - y) / 2
    curve = f"M{x:.0f} {y:.0f}C{x:.0f} {y + bend:.0f} {to_x:.0f} {to_y - bend:.0f} {to_x:.0f} {to_y:.0f}"
    return f'<path d="{curve}" fill="none" stroke="#666" stroke-opacity="0.45" marker-end="url(#tip)"/>'


def _box(name: str, place: Place) -> str:
    left, top, width = place
    package, _, child = name.partition(".")
    return (
        f'<g><rect x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{BOX}" rx="5" fill="{COLOURS[package]}"/>'
        f'<text x="{left + width / 2:.0f}" y="{top + 16:.0f}" fill="white" text-anchor="middle">'
        f"{child}</text></g>"
    )


def _labels(found: list[list[str]]) -> list[str]:
    """Labels with the names of the packages, each beside its first row."""
    first = {row[0].partition(".")[0]: number for number, row in reversed(list(enumerate(found)))}
    return [
        f'<text x="{MARGIN}" y="{MARGIN + number * ROW + 16}" font-weight="bold" fill="{COLOURS[name]}">{name}</text>'
        for name, number in first.items()
    ]


if __name__ == "__main__":
    (ROOT / "docs" / "imports.svg").write_text(svg())
