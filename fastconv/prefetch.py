"""Work done ahead of its use, in background threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar


if TYPE_CHECKING:
    from concurrent.futures import Future


__all__ = ["ahead"]

Job = TypeVar("Job")
Result = TypeVar("Result")

# A batch of 64 digits takes the dearest chain of warps 3 to 6 ms, and LeNet a step of 5 to 7
# (bench/augmentation.py): two threads hide it, and a few batches ahead smooth it.
_THREADS, _DEPTH = 2, 4


def ahead(work: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[Result]:
    """The results of `work`, in order, a few of them computed before they are asked for.

    An error of a job is raised where its result is taken.
    """
    from concurrent.futures import ThreadPoolExecutor  # whose import costs milliseconds

    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(_THREADS, "fastconv-ahead") as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(work, job))
                if len(waiting) > _DEPTH:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
