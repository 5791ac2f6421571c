"""A spool is a queue: what goes in comes out, in order, until it is acknowledged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nnray.tracking.spool import Entry, MemorySpool


@given(st.lists(st.one_of(st.just("append"), st.integers(1, 4)), max_size=40))
def test_entries_come_out_in_the_order_they_went_in(steps: list[str | int]) -> None:
    spool, model, made = MemorySpool(), list[Entry](), 0
    for step in steps:
        if step == "append":
            entry = Entry("tags", "run", {"n": (made := made + 1)})
            spool.append(entry)
            model.append(entry)
        elif isinstance(step, int) and step <= len(model):
            assert list(spool.peek(step)) == model[:step]
            spool.ack(step)
            del model[:step]
        assert len(spool) == len(model)
    assert list(spool.peek(100)) == model


def test_looking_takes_nothing() -> None:
    spool = MemorySpool()
    spool.append(Entry("tags", "run", {}))
    assert spool.peek(5) == spool.peek(5)
    assert len(spool) == 1


def test_the_folder_is_gone_after_close_and_comes_again_if_asked_for() -> None:
    spool = MemorySpool()
    folder = spool.folder
    assert folder.is_dir()
    assert spool.folder == folder
    spool.close()
    assert not folder.exists()
    spool.close()
