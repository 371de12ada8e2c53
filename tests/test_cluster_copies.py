"""A copy of a part of a model: which bytes and blocks are its own."""

from serverless import MODELS, image

from lambdascale.cluster.copies import ModelCopy
from lambdascale.cluster.links import Links
from lambdascale.sim.network import SimNetwork
from lambdascale.sim.regions import new_region
from lambdascale.sim.transport import SimTransport


def test_only_blocks_of_its_own_parts_are_looked_for_in_a_slice():
    """What lies behind a slice belongs to another copy, though the image would go on there."""
    source, network = image("a", 16), SimNetwork()
    links = Links(SimTransport(network, 0))
    region = new_region(1, MODELS["a"].layout.nbytes, None)
    parts = range(3)
    copy = ModelCopy(region, 0, source, parts, links)
    own = sorted({block for part in parts for block in source.blocks.part_blocks[part]})
    found = [block for block in range(16) if copy.is_block(block, source.blocks.offsets[block])]
    assert found == own
    assert copy.range == (0, source.blocks.offsets[own[-1] + 1])
