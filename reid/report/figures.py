"""Figures as SVG to put into a page: matplotlib draws, colours and fonts are those of the page."""

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

SERIES = 8  # colours --c1 to --c8 of the page
INK, FAINT = "#000001", "#000002"  # stand for colours of the page, see STANDS
STANDS = {INK: "var(--ink)", FAINT: "var(--line)"} | {f"#0000{16 + k:02x}": f"var(--c{k + 1})" for k in range(SERIES)}
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
SIZE = (3.9, 2.8)  # inches; small, so that text is still read on a page of the width of a telephone
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


# x and y, sequences of as many numbers, by the words of the legend. Empty ones are not drawn, but count: so the
# same words have the same colour for each model.
Lines = Mapping[str, tuple[Any, Any]]


def lines(name: str, curves: Lines, x: str, y: str, *, steps: bool = False) -> str:
    """Curves over an axis from 0; y are fractions, shown in %."""
    with drawing(name) as drawn:
        for place, words, over, values in _filled(curves):
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
        _legend(drawn)
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
    from matplotlib.ticker import LogLocator

    with drawing(name) as drawn:
        for place, words, passes, mAP in _filled(groups):
            look: dict[str, Any] = {"color": colour(place), "marker": MARKERS[place % 8], "label": words}
            drawn.axes.scatter(passes, 100 * np.array(mAP), s=26, alpha=0.8, linewidths=0, **look)
        drawn.axes.set(xscale="log", xlabel="passes through the model per attacked image", ylabel="mAP left, %")
        drawn.axes.set_ylim(0, 101)
        low, high = drawn.axes.get_xlim()
        drawn.axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        drawn.axes.xaxis.set_major_formatter("{x:,.4g}")
        drawn.axes.xaxis.set_minor_formatter("")
        _legend(drawn)
    return drawn.svg


def _filled(lines: Lines) -> Iterator[tuple[int, str, Any, Any]]:
    """Those with something to draw: place, words, x, y."""
    for place, (words, (x, y)) in enumerate(lines.items()):
        if len(x):
            yield place, words, x, y


def _legend(drawn: Drawing) -> None:
    """Below, in as many columns as its words leave room for."""
    longest = max(len(text) for text in drawn.axes.get_legend_handles_labels()[1])
    drawn.figure.legend(loc="outside lower center", ncols=1 if longest > 26 else 2)
