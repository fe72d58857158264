"""How a step grows with the number of ranks, on networks that are not here.

    make bench-scaling                                              the table, and the check
    make bench-scaling SCALING="--write docs/distributed.md --chart docs/scaling.svg"
    make bench-scaling SCALING="--json out.json"

A simulation (`collectives.py`) of the step of ResNet-18 whose parts are measured here, on networks
whose latency and bandwidth others have published. It is checked: 2, 4 and 8 ranks run here on a
network that is emulated by waiting, with gradients that travel while others are computed and with
those that wait for all, and the simulation has to tell how long they take.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path
from typing import Any

import machine
import pages
from collectives import Collective, Network, Step, ring, tree
from processors import confine, others, processors
from ranks import APART, Processes, by_mpi, library

from tigon.base.files import write_file
from tigon.base.progress import Progress

NETWORKS = (
    Network(
        "1 Gb/s Ethernet",
        25e-6,
        116e6,
        "MPICH over TCP: <https://gist.github.com/jfgrimm/3af692a5475bdd4ed836b5a18197a209>",
    ),
    Network(
        "10 Gb/s Ethernet",
        48e-6,
        1.19e9,
        "half the round trip, 95 % of the rate, of c3.8xlarge at Amazon: "
        "<http://blogs.scalablelogic.com/2014/01/enhanced-networking-in-aws-cloud-part-2.html>",
    ),
    Network(
        "40 Gb/s Ethernet",
        1.93e-6,
        4.65e9,
        "Open MPI past the kernel: <https://news-blogs.cisco.com/performance/mpi-over-40gb-ethernet>",
    ),
    Network(
        "400 Gb/s InfiniBand",
        2e-6,
        50e9,
        "HBv4 at Azure: <https://github.com/MicrosoftDocs/azure-docs/blob/main/articles/"
        "virtual-machines/hbv4-performance.md>",
    ),
)
RANKS = tuple(2**power for power in range(3, 13))
COLLECTIVES: dict[str, Collective] = {"ring": ring, "tree": tree}

IMAGES = (4, 3, 224, 224)
"""Of each rank."""


def buckets() -> tuple[tuple[float, float], ...]:
    """ResNet-18's gradients as stores put them together, the last layers first, and the share of
    forward and backward, by multiply-adds, after which they are there."""
    import models

    from tigon.kvstore.distributed import BUCKET

    net = models.filled(models.MODELS["ResNet-18"], IMAGES)
    described = models.describe(net, IMAGES)
    counts = [described.multiply_adds(node) for node in described.nodes]
    first = {name: at for at, node in enumerate(described.nodes) for name in node.inputs}
    trained = [(n, p) for n, p in net.collect_params().items() if p.grad_req != "null"]
    made, size, place = [], 0.0, len(counts)
    for name, parameter in [*reversed(trained), ("", None)]:
        own = 0.0 if parameter is None else 4.0 * prod(parameter.shape)
        if size and (parameter is None or size + own > BUCKET):
            made.append((size, (1 + 2 * sum(counts[place:]) / sum(counts)) / 3))
            size = 0.0
        if parameter is not None:
            size, place = size + own, min(place, first[name])
    return tuple(made)


# ---------------------------------------------------------------------------------- the check

LAYERS, SIZE, BATCH = 12, 1024, 256
"""Dense layers of the loop that is run here, and the samples of each rank."""

CHECKED = (2, 4, 8)
EMULATED = Network("emulated", 1e-3, 0.4e9)
"""Slow enough that waiting for it is not lost in what else a step takes."""


@dataclass(frozen=True)
class Checked:
    """Seconds of a step of so many ranks, measured and simulated."""

    ranks: int
    overlapped: bool
    measured: float
    simulated: float

    @property
    def off(self) -> float:
        return self.simulated / self.measured - 1


def loop(
    ranks: int, network: Network | None, overlapped: bool, rounds: int, together: bool = True
) -> float:
    """Median seconds of a step of the loop here. `together`: gradients are added up."""
    question = {
        "kind": "loop",
        "layers": LAYERS,
        "size": SIZE,
        "batch": BATCH,
        "overlapped": overlapped,
        "together": together,
        "network": None if network is None else [network.latency, network.bandwidth],
    }
    with tempfile.TemporaryDirectory() as folder:
        made = Processes(by_mpi(ranks, **APART), ranks, question, folder)
        try:
            made.call()
            taken = []
            for _ in range(rounds):
                began = time.perf_counter()
                made.call()
                taken.append(time.perf_counter() - began)
        finally:
            made.close()
    return statistics.median(taken)


def messages_here(ranks: int, size: float) -> float:
    """Seconds that the emulated network makes a bucket wait: each rank sends the others their part
    of a piece, and its sums to all, together with the next piece."""
    from tigon.distributed.groups import PIECE

    sent = 2 * size * (ranks - 1) / ranks
    return (ceil(size / PIECE) + 1) * EMULATED.latency + sent / EMULATED.bandwidth


def check(rounds: int) -> list[Checked]:
    """Of as many ranks as share the processors here, the step of each for itself tells what it
    computes, and the step without a network what sums take besides waiting; what becomes of both on
    the network, with and without overlap, is simulated."""
    from tigon.kvstore.distributed import BUCKET

    weight = 4.0 * SIZE * SIZE
    in_bucket = int(BUCKET // (weight + 4 * SIZE))
    found = []
    with Progress(4 * len(CHECKED), "scaling", "runs") as bar:
        for ranks in CHECKED:
            took = {"computing": loop(ranks, None, False, rounds, together=False)}
            bar.step()
            for name, network, overlapped in (
                ("alone", None, False),
                ("after", EMULATED, False),
                ("overlapped", EMULATED, True),
            ):
                took[name] = loop(ranks, network, overlapped, rounds)
                bar.step()
            buckets = []
            for first in range(0, LAYERS, in_bucket):
                layers = min(in_bucket, LAYERS - first)
                # Forward is a third; backward goes from the last layer to the first.
                share = 1 / 3 + 2 / 3 * (first + layers) / LAYERS
                buckets.append((layers * (weight + 4 * SIZE), share))
            step = Step(took["computing"], 0.0, tuple(buckets))
            sums = max(0.0, took["alone"] - took["computing"]) / sum(size for size, _ in buckets)
            for name, overlapped in (("after", False), ("overlapped", True)):

                def travel(size: float, ranks: int = ranks, sums: float = sums) -> float:
                    return messages_here(ranks, size) + sums * size

                # Sums take the processor that computes; what is waited for does not.
                whole = sum(size for size, _ in buckets)
                taken = sums * whole / sum(travel(size) for size, _ in buckets)
                simulated = step.together(travel, overlapped, taken)
                found.append(Checked(ranks, overlapped, took[name], simulated))
    return found


# ------------------------------------------------------------------------------------- tables


def efficiency(step: Step, collective: Collective, ranks: int, network: Network) -> list[float]:
    """Without and with overlap: the share of what as many ranks would do that need no others."""

    def travel(size: float) -> float:
        return collective(ranks, size, network)

    alone = step.compute + step.update
    return [alone / step.together(travel, overlapped) for overlapped in (False, True)]


def table(step: Step) -> list[str]:
    lines = pages.head(["network", "sums by", *(f"{ranks:,}" for ranks in RANKS)])
    for network in NETWORKS:
        for name, collective in COLLECTIVES.items():
            cells = []
            for ranks in RANKS:
                without, with_ = efficiency(step, collective, ranks, network)
                cells.append(f"{without:.0%} / {with_:.0%}")
            lines.append(pages.row([network.name, name, *cells]))
    return lines


def table_of_checks(found: Sequence[Checked]) -> list[str]:
    lines = pages.head(["ranks", "gradients travel", "measured, ms", "simulated, ms", "off by"])
    for one in found:
        when = "while others are computed" if one.overlapped else "when all are there"
        cells = [pages.number(1e3 * took) for took in (one.measured, one.simulated)]
        lines.append(pages.row([str(one.ranks), when, *cells, f"{one.off:+.0%}"]))
    return lines


def draw(step: Step, path: Path) -> None:
    """Efficiency over ranks, a panel for each network."""
    import io

    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "tigon", "font.size": 9})
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(NETWORKS), figsize=(11, 3), sharey=True, layout="constrained"
    )
    colours = {"ring": "#0072B2", "tree": "#D55E00"}
    for axes, network in zip(panels, NETWORKS, strict=True):
        for name, collective in COLLECTIVES.items():
            pairs = [efficiency(step, collective, ranks, network) for ranks in RANKS]
            for place, (style, when) in enumerate((("--", "afterwards"), ("-", "overlapped"))):
                values = [pair[place] for pair in pairs]
                axes.plot(RANKS, values, style, color=colours[name], label=f"{name}, {when}")
        axes.set_xscale("log", base=2)
        axes.set_xticks([8, 64, 512, 4096], ["8", "64", "512", "4,096"])
        axes.minorticks_off()
        axes.set_ylim(0, 1.03)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
        axes.grid(alpha=0.3)
        axes.set_title(network.name, fontsize=9)
        axes.set_xlabel("ranks")
    panels[0].set_ylabel("share of what ranks alone would do")
    panels[0].legend(fontsize=7, loc="upper right")
    made = io.BytesIO()
    figure.savefig(made, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    write_file(path, made.getvalue())


EXPLANATION = """\
A step of ResNet-18 with four images on each rank, of one thread, simulated message by message: the
share of what as many ranks would do that need no others, when gradients travel after backward /
while it goes on (a bucket as soon as its gradients are there, by a network that needs no
processor). One rank on each machine; a ring, and a binary tree in pieces of 2 MB. Afterwards is
what a compiled step (`TrainStep`, a hybridized network) does, whose gradients come out together.
"""


def explanation(step: Step, found: Sequence[Checked]) -> list[str]:
    lines = [
        f"Measured here, the quickest: {1e3 * step.compute:.0f} ms of forward and backward, "
        f"{1e3 * step.update:.1f} ms of update. Gradients: "
        + ", ".join(f"{size / 1e6:.1f} MB after {share:.0%}" for size, share in step.buckets)
        + ". Published elsewhere:",
        "",
    ]
    for network in NETWORKS:
        latency, bandwidth = 1e6 * network.latency, network.bandwidth / 1e9
        lines.append(f"- {network.name}: {latency:g} us, {bandwidth:g} GB/s: {network.source}")
    if not found:
        return lines
    return [
        *lines,
        "",
        "The check: ranks on "
        f"{processors()} processors here, more of them than processors included, so that they "
        f"take turns; a loop over {LAYERS} dense layers of {SIZE:,}, not hybridized, and a network "
        f"of {1e3 * EMULATED.latency:g} ms and {EMULATED.bandwidth / 1e9:g} GB/s that is emulated "
        "by waiting. What a step takes of each rank for itself, and of all together without the "
        "network, is measured; what the network adds is simulated. Where gradients travel "
        "meanwhile, the threads that send them wait for the processor that computes, which is not "
        "in the simulation:",
        "",
        *table_of_checks(found),
    ]


def parts_of_a_step(rounds: int) -> Step:
    """Of ResNet-18 with 4 images, by one thread."""
    question = {"kind": "parts", "shape": IMAGES, "rounds": rounds}
    with tempfile.TemporaryDirectory() as folder:
        made = Processes([([sys.executable], {"TIGON_NUM_THREADS": "1"})], 1, question, folder)
        made.close()
    compute, update = made.result
    return Step(float(compute), float(update), buckets())


def main() -> None:
    parser = pages.arguments(
        __doc__,
        rounds={"type": int, "default": 7},
        chart={"type": Path, "help": "the picture to draw"},
        unchecked={"action": "store_true", "help": "do not run ranks here"},
    )
    options = parser.parse_args()
    confine(options.threads)
    limits, before, began = machine.measure(options.threads), others(), time.perf_counter()
    step = parts_of_a_step(options.rounds)
    found = [] if options.unchecked else check(options.rounds)
    share = (others() - before) / (time.perf_counter() - began) / processors()
    lines = [
        *pages.conditions(limits, share, library()),
        "",
        *table(step),
        "",
        *explanation(step, found),
    ]
    if options.chart:
        draw(step, options.chart)
    pages.tell(lines, [_Json(one) for one in found], options, EXPLANATION, "scaling")


@dataclass(frozen=True)
class _Json:
    checked: Checked

    def json(self) -> dict[str, Any]:
        return {**self.checked.__dict__, "off": self.checked.off}


if __name__ == "__main__":
    main()
