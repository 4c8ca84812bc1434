"""Figures as SVG to put into a page: matplotlib draws, colours and fonts are those of the page."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

SERIES = 8  # colours --c1 to --c8 of the page
INK, FAINT, PAPER = "#000001", "#000002", "#000003"  # stand for colours of the page, see STANDS
STANDS = {INK: "var(--ink)", FAINT: "var(--line)", PAPER: "var(--paper)"} | {
    f"#0000{16 + k:02x}": f"var(--c{k + 1})" for k in range(SERIES)
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "reid",
    "text.parse_math": False,  # names of files are no formulas
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
SIZE = (5.0, 3.3)  # inches
MARKERS = "osD^vPX*"
DASHES = ("-", "--", "-.", ":")


def colour(place: int) -> str:
    """Of the series at a place."""
    return f"#0000{16 + place % SERIES:02x}"


class Drawing:
    """A figure while it is drawn: `axes`, and at the end `svg`."""

    def __init__(self, name: str) -> None:
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        self.name, self.svg = name, ""
        self.figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasSVG(self.figure)
        self.axes = self.figure.add_subplot()

    def write(self) -> None:
        file = io.StringIO()
        self.figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        self.svg = embedded(file.getvalue(), self.name)


@contextmanager
def drawing(name: str) -> Iterator[Drawing]:
    """The figure of a name that no other figure of the page has."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        drawn = Drawing(name)
        yield drawn
        drawn.write()


def embedded(svg: str, name: str) -> str:
    """An SVG file as a part of a page: no size of its own, the page's colours, ids that begin with `name`."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg ([^>]*?)height="[\d.]+pt" ([^>]*?)width="[\d.]+pt"', r"<svg \1\2", svg)
    svg = re.sub(r'<svg ([^>]*?)width="[\d.]+pt" ([^>]*?)height="[\d.]+pt"', r"<svg \1\2", svg)
    svg = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    for stand, variable in STANDS.items():
        svg = svg.replace(stand, variable)
    return svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)


Lines = Mapping[str, tuple[Any, Any]]  # x and y, sequences of as many numbers, by the words of the legend


def lines(name: str, curves: Lines, x: str, y: str, *, percent: bool = True, steps: bool = False) -> str:
    """Curves over an axis from 0; y are fractions, shown in %."""
    with drawing(name) as drawn:
        for place, (words, (over, values)) in enumerate(curves.items()):
            look: dict[str, Any] = {
                "color": colour(place),
                "linestyle": DASHES[place // SERIES % len(DASHES)],
                "label": words,
            }
            if steps:
                drawn.axes.step(over, 100 * np.array(values), where="mid", **look)
            else:
                drawn.axes.plot(over, 100 * np.array(values), marker=MARKERS[place % 8], markersize=4, **look)
        drawn.axes.set(xlabel=x, ylabel=y, ylim=(0, 101))
        drawn.axes.locator_params("x", integer=True)
        drawn.figure.legend(loc="outside lower center", ncols=1 if any(len(w) > 24 for w in curves) else 3)
    return drawn.svg


def scatter(name: str, before: np.ndarray, after: np.ndarray) -> str:
    """AP of each query before and after, in %; each point is one `use` element in the order of the queries."""
    with drawing(name) as drawn:
        drawn.axes.plot([0, 100], [0, 100], color=FAINT, linewidth=1)
        points = drawn.axes.scatter(100 * before, 100 * after, s=22, color=colour(0), alpha=0.55, linewidths=0)
        points.set_gid("points")
        drawn.axes.set(xlabel="AP clean, %", ylabel="AP under the worst attack, %", xlim=(-3, 103), ylim=(-3, 103))
    return drawn.svg


def costs(name: str, groups: Lines) -> str:
    """Passes per image, on a logarithmic axis, against the mAP that is left, in %, of the attacks of each kind."""
    with drawing(name) as drawn:
        for place, (words, (passes, mAP)) in enumerate(groups.items()):
            look: dict[str, Any] = {"color": colour(place), "marker": MARKERS[place % 8], "label": words}
            drawn.axes.scatter(passes, 100 * np.array(mAP), s=26, alpha=0.8, linewidths=0, **look)
        drawn.axes.set(xscale="log", xlabel="passes through the model per attacked image", ylabel="mAP left, %")
        drawn.axes.set_ylim(bottom=0)
        drawn.axes.xaxis.set_major_formatter("{x:,.4g}")
        drawn.axes.xaxis.set_minor_formatter("")
        drawn.figure.legend(loc="outside lower center", ncols=4)
    return drawn.svg


def heat_map(name: str, rows: Sequence[str], columns: Sequence[str], values: np.ndarray) -> str:
    """mAP in % (rows, columns) as colours with their numbers; NaN stays empty."""
    from matplotlib.colors import to_rgb

    with drawing(name) as drawn:
        drawn.figure.set_size_inches(SIZE[0], 1.1 + 0.42 * len(rows))
        axes = drawn.axes
        axes.grid(visible=False)
        for i, j in np.ndindex(values.shape):
            if not np.isnan(values[i, j]):
                square = [[j - 0.5, i - 0.5], [j + 0.5, i - 0.5], [j + 0.5, i + 0.5], [j - 0.5, i + 0.5]]
                strength = 0.08 + 0.6 * (1 - float(values[i, j]))  # the stronger the attack, the darker
                axes.fill(*zip(*square, strict=True), facecolor=(*to_rgb(colour(1)), strength), edgecolor=PAPER)
                axes.text(j, i, f"{100 * values[i, j]:.1f}", ha="center", va="center")
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
        axes.tick_params(length=0)
    return drawn.svg
