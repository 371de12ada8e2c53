"""`lambdascale serve`: an OpenAI-compatible endpoint over a cluster that scales with its requests."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lambdascale.cli.cluster_options import add_cluster
from lambdascale.cli.loading import loading
from lambdascale.cli.losses import tell
from lambdascale.cli.options import number, positive
from lambdascale.cli.run import DEFAULT_MODEL
from lambdascale.cli.run_options import Row, add_rows
from lambdascale.config import SystemSpec
from lambdascale.errors import ConfigError
from lambdascale.experiments.clusters import Cluster, placed
from lambdascale.experiments.trace_spec import TraceSpec
from lambdascale.fleet.state import state_folder
from lambdascale.model.catalogue import CATALOGUE
from lambdascale.policy import POLICIES, ScalingPolicy
from lambdascale.serve.limits import KEY_VARIABLE, RESTART_S, Endpoint

if TYPE_CHECKING:
    from lambdascale.experiments.endpoint import Where

DEFAULTS = Endpoint()

ENDPOINT: tuple[Row, ...] = (
    (
        "--host ADDRESS",
        str,
        DEFAULTS.host,
        "address to listen at; any but this machine's own needs a key",
    ),
    ("--port P", int, DEFAULTS.port, "port to listen at; 0: any free one"),
    (
        "--api-key-file FILE",
        Path,
        None,
        f"file with the key that clients must send; else ${KEY_VARIABLE}",
    ),
    ("--max-body BYTES", int, DEFAULTS.max_body, "bytes of a request, at most"),
    ("--max-header BYTES", int, DEFAULTS.max_header, "bytes of its headers, at most"),
    ("--max-connections C", int, DEFAULTS.max_connections, "requests at a time, at most"),
)
CLUSTER: tuple[Row, ...] = (
    ("--nodes N", int, 4, "nodes of the cluster"),
    ("--initial-gpu K", int, 0, "nodes that hold the models, and serve, from the start"),
    ("--slots S", int, 8, "requests served at once per instance"),
    ("--max-length L", int, 512, "tokens of a request and its answer, at most"),
    ("--blocks B", int, 16, "blocks that a model is cut into"),
    ("--link-gbps R", number, None, "rate of every link in Gbit/s (no limit)"),
    ("--ssd-gbps R", number, 0.0, "rate of every SSD in Gbit/s; 0: no limit"),
    ("--restart-after S", number, RESTART_S, "start a node that has ended again after S seconds"),
    ("--start-timeout S", positive, 600.0, "give up if the nodes are not up within S seconds"),
)
STATE: tuple[Row, ...] = (
    (
        "--state DIR",
        Path,
        None,
        "folder of yours alone; if this process is killed, the same command finds its agents again",
    ),
    ("--lease S", positive, 60.0, "seconds that agents wait for that; then they end"),
)
SYSTEM: tuple[Row, ...] = (
    ("--policy NAME", str, "concurrency", f"how many instances: {', '.join(POLICIES)}"),
    ("--target X", number, 0.7, "share of the slots that should be busy"),
    ("--min N", int, 0, "instances of each model, at least"),
    ("--max N", int, None, "instances of each model, at most"),
    ("--idle S", number, 30.0, "release an instance after S idle seconds"),
    ("--keep-alive S", number, 60.0, "seconds that an unused copy stays on a GPU"),
    ("--host-keep-alive S", number, 300.0, "seconds that it stays in host memory"),
    ("--max-queue Q", int, 256, "refuse new requests (429) while Q wait"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        metavar="NAME",
        action="append",
        help=f"{', '.join(CATALOGUE)} (default), or a folder of Hugging Face safetensors; again for several",
    )
    parser.add_argument("--dtype", default="float32", help="float32 or bfloat16 (float32)")
    add_cluster(parser)
    parser.add_argument(
        "--no-restart", action="store_true", help="go on without the nodes that have ended"
    )
    groups = {"the endpoint": ENDPOINT, "the cluster": CLUSTER, "the system": SYSTEM}
    add_rows(parser, groups | {"starting again after a crash": STATE})


def run(options: argparse.Namespace) -> None:
    endpoint = Endpoint(
        options.host,
        options.port,
        _key(options.api_key_file),
        options.max_body,
        options.max_header,
        options.max_connections,
    )
    cluster = Cluster.read(options.cluster) if options.cluster else None
    spec, placement = placed(_spec(options), cluster, options.transport, options.link_gbps)
    if options.state is None:
        _serve(spec, endpoint, placement, options.json)
        return
    if placement:
        raise ConfigError("--state keeps agents of this machine; leave out --state or --cluster")
    with state_folder(options.state, options.lease) as folder:
        _serve(spec, endpoint, folder, options.json)


def _serve(spec: TraceSpec, endpoint: Endpoint, where: "Where", as_json: bool) -> None:
    with loading("the endpoint", as_json):
        from lambdascale.experiments.endpoint import Served, serve  # slow to import

    def ready(served: Served) -> None:
        address, models = served.address, ", ".join(served.models)
        text = f"lambdascale serve: {models} on {spec.num_nodes} nodes at {address}"
        found = {"agents_found": served.agents_found, "blocks_found": served.blocks_found}
        if served.agents_found:
            text += f"; {served.agents_found} agents were found with {served.blocks_found} blocks"
        told = {"address": address, "models": served.models, **found}
        print(json.dumps(told) if as_json else text, flush=True)

    serve(spec, endpoint, ready, tell, where)


def _key(path: Path | None) -> str:
    """The API key, from a file or the environment, never from the command line, where others look."""
    if path is None:
        return os.environ.pop(KEY_VARIABLE, "")  # agents inherit the rest of it
    try:
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the API key in {path}; write one line of ASCII") from error
    if not key:
        raise ConfigError(f"{path} is empty; write the API key into it")
    return key


def _spec(options: argparse.Namespace) -> TraceSpec:
    return TraceSpec(
        models=tuple(options.model or (DEFAULT_MODEL,)),
        dtype=options.dtype,
        system=SystemSpec(
            gpu_keep_alive_s=options.keep_alive,
            host_keep_alive_s=options.host_keep_alive,
            max_queue=options.max_queue,
        ),
        policy=ScalingPolicy(
            name=options.policy,
            min_instances=options.min,
            max_instances=options.max,
            target=options.target,
            idle_s=options.idle,
        ),
        num_nodes=options.nodes,
        num_blocks=options.blocks,
        max_slots=options.slots,
        max_length=options.max_length,
        initial_gpu=options.initial_gpu,
        ssd_gbps=options.ssd_gbps,
        timeout_s=options.start_timeout,
        restart_s=None if options.no_restart else options.restart_after,
        label="serve",
    )
