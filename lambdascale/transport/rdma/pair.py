"""A reliable queue pair with its own completion queue, awaited by the event loop through one descriptor.

Nothing spins: the loop wakes when the completion channel is readable. With `poll_s`, it looks again and again
for that long after each completion, between its other work, before it sleeps.
"""

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from lambdascale.errors import ConfigError
from lambdascale.transport.rdma import verbs
from lambdascale.transport.rdma.contact import PairContact
from lambdascale.transport.rdma.rail import Rail
from lambdascale.transport.rdma.verbs import e

WINDOW = 64  # frames in flight: slots of a mailbox, and receives posted at each end
SENDS = 4 * WINDOW  # requests in flight
SLOT_BYTES = 32
RECEIVE = 0  # the number of every receive request; those of sends are positive
_PSN_BITS = 24
_BATCH = 64
_HOPS = 64
_RETRIES = 6
_SOFTWARE_RETRIES = (
    7  # for ever: a software device counts every frame out of order, and runs out of them
)
_RNR_FOREVER = 7  # the window keeps it from being needed
_RNR_TIMER = 12  # 0.64 ms
_TIMEOUT = 14  # 4.096 µs × 2^14 = 67 ms for each try: a silent peer is given up in 0.5 to 2 s
_SOFTWARE_TIMEOUT = 16  # a software device may be slower than that to answer

Handler = Callable[[Any], None]


class Pair:
    """One end; a leader's refuses all access, a follower's lets its peer write what it was granted."""

    def __init__(self, rail: Rail, is_leader: bool, handler: Handler) -> None:
        self.rail = rail
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._poll_until = 0.0
        self._closed = False
        self._psn = secrets.randbits(_PSN_BITS)
        self._peer_mailbox = self._peer_rkey = 0
        self._access = 0 if is_leader else e.IBV_ACCESS_LOCAL_WRITE | e.IBV_ACCESS_REMOTE_WRITE
        try:
            self._make()
        except verbs.Failure as error:
            raise ConfigError(
                f"cannot make a queue pair on {rail.port.name} ({error}); raise the limit of locked "
                "memory (ulimit -l unlimited), or close links"
            ) from error

    def _make(self) -> None:
        rail = self.rail
        with ExitStack() as stack:
            self._mailbox = stack.enter_context(
                closing(verbs.mr.MR(rail.pd, WINDOW * SLOT_BYTES, self._access))
            )
            before = verbs.event_descriptors()
            self._channel = stack.enter_context(closing(verbs.cq.CompChannel(rail.context)))
            (self._descriptor,) = verbs.event_descriptors() - before
            self._cq = stack.enter_context(
                closing(verbs.cq.CQ(rail.context, SENDS + WINDOW, None, self._channel, 0))
            )
            self._qp = stack.enter_context(closing(self._make_qp()))
            self._receive = stack.enter_context(closing(self._make_receive()))
            self._resources = stack.pop_all()

    def _make_qp(self) -> Any:
        cap = verbs.qp.QPCap(max_send_wr=SENDS, max_recv_wr=WINDOW)
        init = verbs.qp.QPInitAttr(
            qp_type=e.IBV_QPT_RC, scq=self._cq, rcq=self._cq, cap=cap, sq_sig_all=0
        )
        return verbs.qp.QP(self.rail.pd, init, None)

    def _make_receive(self) -> Any:
        """Nothing is ever received into it, but some versions want a buffer."""
        with closing(verbs.wr.SGE(self._mailbox.buf, 0, self._mailbox.lkey)) as nothing:
            return verbs.wr.RecvWR(wr_id=RECEIVE, num_sge=1, sg=[nothing])

    @property
    def contact(self) -> PairContact:
        """How the peer's queue pair reaches this one."""
        port = self.rail.port
        return PairContact(
            self._qp.qp_num, self._psn, port.lid, port.gid, self.rail.mtu, self._mailbox.buf,
            self._mailbox.rkey,
        )  # fmt: skip

    def connect(self, theirs: PairContact) -> None:
        """Connect to the peer's queue pair and begin to listen for completions."""
        self._peer_mailbox, self._peer_rkey = theirs.mailbox, theirs.rkey
        attr = verbs.qp.QPAttr(port_num=self.rail.port.number)
        attr.qp_access_flags = self._access
        self._qp.to_init(attr)
        for _ in range(WINDOW):
            self.post_receive()
        attr.path_mtu = min(self.rail.mtu, theirs.mtu)
        attr.dest_qp_num = theirs.number
        attr.rq_psn = theirs.psn
        attr.max_dest_rd_atomic = attr.max_rd_atomic = 1
        attr.min_rnr_timer = _RNR_TIMER
        attr.ah_attr = self._route(theirs)
        attr.sq_psn = self._psn
        attr.timeout = _SOFTWARE_TIMEOUT if self.rail.port.is_software else _TIMEOUT
        attr.retry_cnt = _SOFTWARE_RETRIES if self.rail.port.is_software else _RETRIES
        attr.rnr_retry = _RNR_FOREVER
        self._qp.to_rts(attr)
        self._cq.req_notify()
        self._loop.add_reader(self._descriptor, self._on_event)
        self._resources.callback(self._loop.remove_reader, self._descriptor)

    def _route(self, theirs: PairContact) -> Any:
        port = self.rail.port
        if port.lid and theirs.lid:  # one InfiniBand subnet
            return verbs.addr.AHAttr(port_num=port.number, dlid=theirs.lid, is_global=0)
        to = verbs.addr.GlobalRoute(
            dgid=verbs.addr.GID(theirs.gid), sgid_index=port.gid_index, hop_limit=_HOPS
        )
        return verbs.addr.AHAttr(gr=to, is_global=1, port_num=port.number, dlid=theirs.lid)

    def post_receive(self) -> None:
        """Let the peer notify once more."""
        self._qp.post_recv(self._receive)

    def post_write(
        self, number: int, source: int, nbytes: int, lkey: int, target: int, rkey: int
    ) -> None:
        """Write bytes to the peer, which does not notice; completes here as `number`."""
        with self._request(number, e.IBV_WR_RDMA_WRITE, source, nbytes, lkey, 0) as request:
            request.set_wr_rdma(rkey, target)
            self._qp.post_send(request)

    def post_frame(self, number: int, slot: int, frame: bytes, immediate: int) -> None:
        """Write a frame into a slot of the peer's mailbox and notify it; completes here as `number`."""
        at = slot * SLOT_BYTES
        self._mailbox.write(frame, len(frame), at)
        source = self._mailbox.buf + at
        write = e.IBV_WR_RDMA_WRITE_WITH_IMM
        lkey = self._mailbox.lkey
        with self._request(number, write, source, len(frame), lkey, immediate) as request:
            request.set_wr_rdma(self._peer_rkey, self._peer_mailbox + at)
            self._qp.post_send(request)

    def post_answer(self, number: int, immediate: int) -> None:
        """Notify the peer, without bytes; completes here as `number`."""
        send, lkey = e.IBV_WR_SEND_WITH_IMM, self._mailbox.lkey
        with self._request(number, send, self._mailbox.buf, 0, lkey, immediate) as request:
            self._qp.post_send(request)

    def bind(self, number: int, window: Any, region: Any, address: int, nbytes: int) -> int:
        """Open a memory window to the peer of this pair alone; return its rkey. Completes as `number`."""
        info = verbs.mr.MWBindInfo(region, address, nbytes, e.IBV_ACCESS_REMOTE_WRITE)
        request = verbs.wr.SendWR(number, e.IBV_WR_BIND_MW)
        with closing(request):
            request.set_bind_wr(window, info)
            self._qp.post_send(request)
            return int(request.rkey)

    @contextmanager
    def _request(
        self,
        number: int,
        opcode: int,
        source: int,
        nbytes: int,
        lkey: int,
        immediate: int,
    ) -> Iterator[Any]:
        """A send request, freed afterwards: verbs has copied it by then."""
        with closing(verbs.wr.SGE(source, nbytes, lkey)) as part:
            request = verbs.wr.SendWR(
                wr_id=number, opcode=opcode, num_sge=1, sg=[part],
                imm_data=socket.htonl(immediate),
            )  # fmt: skip
        with closing(request):
            yield request

    def read_slot(self, slot: int, nbytes: int) -> bytes:
        """Return what the peer wrote into a slot of our mailbox."""
        return bytes(self._mailbox.read(nbytes, slot * SLOT_BYTES))

    def _on_event(self) -> None:
        self._channel.get_cq_event(self._cq)
        self._cq.ack_events(1)
        self._cq.req_notify()
        self._look()

    def _look(self) -> None:
        """Handle what has completed; with `poll_s`, look again soon."""
        if self.drain():
            self._poll_until = time.monotonic() + self.rail.poll_s
        if time.monotonic() < self._poll_until:
            self._loop.call_soon(self._look)

    def drain(self) -> bool:
        """Hand every completion to the handler; False if there was none, or the pair is closed."""
        found = False
        while not self._closed:
            _, completions = self._cq.poll(_BATCH)
            for completion in completions:
                if not self._closed:  # the handler may have closed it
                    self._handler(completion)
            if not completions:
                return found
            found = True
        return False

    def close(self) -> None:
        """Destroy the queue pair and all that belongs to it; the peer's access ends. Idempotent."""
        self._closed = True
        self._resources.close()
