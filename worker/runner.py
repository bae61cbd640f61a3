"""The process of one job: `python -m worker.runner PARENT` reads one order from standard input and carries it out.

It may be started long before there is a job, to have everything loaded by then; it still serves exactly one. First of
all it ties its life to its parent's.
"""

import resource
import signal
import sys
from types import FrameType

from worker.orphans import die_with_parent


class StopFlag:
    """What SIGTERM sets. A process that has no order yet has nothing to give back, and just ends."""

    def __init__(self) -> None:
        self.is_set = False
        self._has_order = False

    def take_order(self) -> None:
        """From now on a signal only sets the flag; the job looks at it between batches."""
        self._has_order = True

    def note(self, _number: int, _frame: FrameType | None) -> None:
        self.is_set = True
        if not self._has_order:
            sys.exit(0)


def main(arguments: list[str]) -> int:
    die_with_parent(int(arguments[0]))
    # A core file would hold images and weights.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    stop = StopFlag()
    signal.signal(signal.SIGTERM, stop.note)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor, which then sends SIGTERM
    # Late, because it brings torch: until here we could have been orphaned in milliseconds, from here on in seconds.
    from core import log  # noqa: PLC0415
    from worker import jobs  # noqa: PLC0415
    from worker.order import Order  # noqa: PLC0415

    line = sys.stdin.readline()
    if not line:
        return 0
    stop.take_order()
    order = Order.model_validate_json(line)
    log.configure(process="job", boot=order.owner, job_id=str(order.job), fence=order.fence, attempt=order.attempt)
    return jobs.run(order.lease, order.read_settings(), lambda: stop.is_set)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
