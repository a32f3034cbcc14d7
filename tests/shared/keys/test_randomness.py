"""Random bytes: nobody is given what somebody else was."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from rembuk.keys.randomness import BLOCK, take


def test_what_is_taken_is_as_long_as_was_asked_for_and_never_the_same_twice() -> None:
    taken = [take(size) for size in range(12, BLOCK + 1) for _ in range(100)]
    assert [len(one) for one in taken] == [size for size in range(12, BLOCK + 1) for _ in range(100)]
    assert len({one[:12] for one in taken}) == len(taken)


def test_threads_share_nothing() -> None:
    with ThreadPoolExecutor(8) as threads:
        taken = [one for many in threads.map(lambda _: [take(BLOCK) for _ in range(2_000)], range(8)) for one in many]
    assert len(set(taken)) == len(taken)


def test_a_forked_child_takes_nothing_that_its_parent_takes() -> None:
    for _ in range(2):  # the first fork may find a page used up; then the second does not
        take(BLOCK)
        theirs = taken_by_a_forked_child(64)
        assert len(set(theirs)) == 64
        assert not set(theirs) & {take(BLOCK) for _ in range(256)}


def taken_by_a_forked_child(many: int) -> list[bytes]:
    heard, says = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(says, b"".join(take(BLOCK) for _ in range(many)))
        os._exit(0)
    os.close(says)
    with os.fdopen(heard, "rb") as pipe:
        taken = pipe.read()
    os.waitpid(child, 0)
    return [taken[at : at + BLOCK] for at in range(0, len(taken), BLOCK)]
