"""Where the boxes of the architecture lie, what is said in them, and which of them face each other."""

from typing import NamedTuple

NEAR = 6.0  # how far apart two boxes may be that face each other

Point = tuple[float, float]


class Place(NamedTuple):
    """Lower left corner, width and height of a box."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def top(self) -> float:
        return self.y + self.height


FRAMES = {"cluster manager": Place(20, 65, 60, 38), "worker node": Place(20, 21, 60, 26)}
BOXES = {
    "experiments, figures, notebooks, command line": Place(20, 107, 60, 6),
    "autoscaler": Place(22, 90, 27, 8.5),
    "dispatch of prompts": Place(51, 90, 27, 8.5),
    "model scaling controller": Place(22, 78, 27, 8.5),
    "pipeline execution controller": Place(51, 78, 27, 8.5),
    "global resources": Place(22, 67.5, 56, 6.5),
    "multicast": Place(0, 78, 15, 8.5),
    "pipeline": Place(85, 78, 15, 8.5),
    "workload": Place(85, 90, 15, 8.5),
    "model": Place(0, 33.5, 15, 8.5),
    "control": Place(20, 50.5, 38, 11),
    "fleet": Place(60, 50.5, 20, 11),
    "node controller": Place(22, 35.5, 56, 6.5),
    "model manager": Place(22, 23, 17.5, 9),
    "transfer module": Place(41.25, 23, 17.5, 9),
    "inference module": Place(60.5, 23, 17.5, 9),
    "storage": Place(20, -2, 19, 18.5),
    "transport": Place(40.5, -2, 19, 18.5),
    "engine": Place(61, -2, 19, 18.5),
}
FLOORS = {  # where the floor of a part is written, for all in its row
    "experiments, figures, notebooks, command line": (82.0, 110.0),
    "autoscaler": (73.0, 100.8),
    "workload": (89.0, 100.8),
    "fleet": (82.0, 56.0),
    "node controller": (73.0, 44.5),
    "model": (4.0, 44.5),
    "engine": (82.0, 10.0),
}
NOTES = {
    "control": "orders, and reports of what has arrived",
    "fleet": "starts, watches, kills",
    "storage": "SSD, host memory, GPU",
    "transport": "blocks, activations,\nKV entries to other nodes",
    "engine": "layers of the model\non one device",
    "multicast": "who sends what\nto whom, when",
    "pipeline": "who runs\nwhich layers",
    "workload": "requests and\ntraces",
    "model": "shape, packing,\nblocks",
}


def facing(a: Place, b: Place) -> tuple[Point, Point] | None:
    """Return the ends of a straight arrow from `a` to `b`, if they face each other nearby."""
    left, right = max(a.x, b.x), min(a.right, b.right)
    low, high = max(a.y, b.y), min(a.top, b.top)
    if left < right:
        middle = (left + right) / 2
        for begin, end in ((a.y, b.top), (a.top, b.y)):
            if 0 < abs(begin - end) < NEAR and (begin > end) == (a.y > b.y):
                return (middle, begin), (middle, end)
    if low < high:
        middle = (low + high) / 2
        for begin, end in ((a.right, b.x), (a.x, b.right)):
            if 0 < abs(begin - end) < NEAR and (begin < end) == (a.x < b.x):
                return (begin, middle), (end, middle)
    return None
