"""One colour for a loop, the same in every chart: PNG files and HTML report.

Owns the colours only, so that neither kind of chart needs the other's library.
"""

COLOURS = {
    "asyncio": "#7f7f7f", "uvloop": "#1f77b4", "loopx": "#d62728", "rloop": "#ff7f0e",
    "blazio": "#9467bd", "zloop": "#8c564b", "veloxloop": "#e377c2", "loopmini": "#bcbd22",
    "uringcore": "#17becf", "aiofastnet": "#393b79", "c-epoll": "#98df8a", "c-uring": "#2ca02c",
    "c-uring-bulk": "#006400", "c-epoll-own": "#bfe3b4",
}
OTHER_COLOUR = "#c5b0d5"


def colour(loop: str) -> str:
    """Return the colour of a loop."""
    return COLOURS.get(loop, OTHER_COLOUR)
