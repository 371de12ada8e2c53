"""Our multicast over links that the kernel shapes, in units of one copy: bytes ÷ link rate.

Every node is a process in a network namespace of its own, and every block is verified before it is sent on.
Schedule and block count are chosen by the planner for these links. One node to one, and from the source to
all at once (star), take turns with it. Emulated: the rate is imposed by `tc tbf`.
"""

import argparse
from collections.abc import Sequence

from lambdascale.experiments.peers.member import Task
from lambdascale.experiments.peers.sitting import Program, Sitting
from lambdascale.provision.namespaces import Namespaces

