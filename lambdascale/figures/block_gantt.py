"""Block arrivals per node, the pipelines that ran meanwhile, and when each node switched (Fig. 5 of the
paper, as it happened).

    node 2   |0|1|2|3|8|9|…          upper lane: a bar ends when its block has arrived; colour = block
             [stage][ replica  ]     lower lane: what the node served as, from forming to dissolving

Bars are as wide as the node's median gap between arrivals, so a stall shows as white.
"""

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from pandas import DataFrame

from lambdascale.figures import style

_BLOCK_LANE = (-0.42, 0.46)  # top and height of the upper lane; y grows downwards
_SERVE_LANE = (0.08, 0.30)
_KIND_NAMES = {"pipeline": "stage of a pipeline", "replica": "replica"}


@style.styled
def draw(blocks: DataFrame, nodes: DataFrame, pipelines: DataFrame, *, provenance: str) -> Figure:
    """Draw one panel per run: x time in seconds, y node.

    blocks: `run node block arrived_s`; nodes: `run node role switched_s` (NaN: never);
    pipelines: one row per stage, `run kind node first stop formed_s dissolved_s` (NaN: still serving).
    """
    style.need(blocks, "blocks", "run node block arrived_s")
    style.need(nodes, "nodes", "run node role switched_s")
    style.need(pipelines, "pipelines", "run kind node first stop formed_s dissolved_s")
    nodes = nodes.astype({"switched_s": float})
    pipelines = pipelines.astype({"formed_s": float, "dissolved_s": float})
    runs = style.labels(blocks)
    heights = [0.4 + 0.62 * int((nodes["run"] == run).sum()) for run in runs]
    sheet, axes = style.panels(
        "Block arrivals, and what each node serves as meanwhile", heights, provenance
    )
    end_s = 1.12 * np.nanmax([blocks["arrived_s"].max(), nodes["switched_s"].max()])
    shades = Normalize(0, blocks["block"].max()), sns.color_palette("viridis", as_cmap=True)
    for panel, run in zip(axes, runs, strict=True):
        rows = _label_rows(panel, nodes[nodes["run"] == run])
        _draw_blocks(panel, blocks[blocks["run"] == run], rows, shades)
        _draw_serving(panel, pipelines[pipelines["run"] == run], rows, end_s)
        _draw_marks(panel, nodes[nodes["run"] == run], rows)
        panel.set(title=run, xlim=(0, end_s))
    axes[-1].set_xlabel("time since the scale-out started (s)")
    sheet.colorbar(ScalarMappable(*shades), ax=axes, label="block", shrink=0.7, pad=0.01)
    sheet.legend(handles=_legend(), loc="outside lower left", ncols=3, frameon=False)
    return sheet


def _label_rows(panel: Axes, nodes: DataFrame) -> dict[int, int]:
    """Name the y axis after the nodes and return node → row."""
    ordered = nodes.sort_values("node")
    names = [
        f"node {n}\n({role})" for n, role in zip(ordered["node"], ordered["role"], strict=True)
    ]
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.grid(visible=False, axis="y")
    return {int(node): row for row, node in enumerate(ordered["node"])}


def _draw_blocks(
    panel: Axes, blocks: DataFrame, rows: dict[int, int], shades: tuple[Normalize, Colormap]
) -> None:
    norm, colors = shades
    for node, part in blocks.sort_values("arrived_s").groupby("node"):
        arrived = part["arrived_s"].to_numpy(float)
        gaps = np.diff(arrived, prepend=0.0)
        widths = np.minimum(gaps, np.median(gaps))
        panel.broken_barh(
            list(zip(arrived - widths, widths, strict=True)),
            (rows[int(str(node))] + _BLOCK_LANE[0], _BLOCK_LANE[1]),
            facecolors=colors(norm(part["block"].to_numpy())),
            edgecolor="white",
            linewidth=0.5,
        )


def _draw_serving(panel: Axes, stages: DataFrame, rows: dict[int, int], end_s: float) -> None:
    for stage in stages[stages["formed_s"] < end_s].to_dict("records"):
        start, stop = stage["formed_s"], np.nanmin([stage["dissolved_s"], end_s])
        lane = (rows[stage["node"]] + _SERVE_LANE[0], _SERVE_LANE[1])
        color = style.KIND_COLORS[stage["kind"]]
        panel.broken_barh([(start, stop - start)], lane, facecolors=color, edgecolor="white")
        if stage["kind"] == "pipeline" and stop - start > 0.12 * end_s:
            middle = (start + stop) / 2, lane[0] + lane[1] / 2
            text = f"parts {stage['first']}–{stage['stop'] - 1}"
            panel.text(*middle, text, ha="center", va="center", fontsize="x-small", clip_on=True)


def _draw_marks(panel: Axes, nodes: DataFrame, rows: dict[int, int]) -> None:
    for source in nodes.loc[nodes["role"] == "source", "node"]:
        height = rows[source] + _BLOCK_LANE[0] + _BLOCK_LANE[1] / 2
        panel.text(0.008, height, "holds every block", transform=panel.get_yaxis_transform(),
                   va="center", fontsize="small", color=style.REFERENCE_COLOR)  # fmt: skip
    switched = nodes[nodes["role"] == "destination"].dropna(subset=["switched_s"])
    heights = [rows[node] for node in switched["node"]]
    panel.plot(switched["switched_s"], heights, "k>", markersize=7, gid="switches")


def _legend() -> list[Patch | Line2D]:
    patches: list[Patch | Line2D] = [
        Patch(color=style.KIND_COLORS[kind], label=name) for kind, name in _KIND_NAMES.items()
    ]
    switch = Line2D([], [], color="black", marker=">", linestyle="none", label="mode switch")
    return [*patches, switch]
