"""What people look at: summaries as text, networks, memory plans and curves as pictures."""

from tigon.base.lazy import complete as _complete
from tigon.visualization.curves import plot_curves
from tigon.visualization.html import block_html
from tigon.visualization.memory import plot_memory
from tigon.visualization.network import NetworkPlot, plot_network
from tigon.visualization.picture import Picture
from tigon.visualization.summary import block_summary, print_summary, symbol_summary

__all__ = [
    "NetworkPlot",
    "Picture",
    "block_html",
    "block_summary",
    "plot_curves",
    "plot_memory",
    "plot_network",
    "print_summary",
    "symbol_summary",
]

_complete(globals())
