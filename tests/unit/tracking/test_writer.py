"""Laws of the writer: order, nothing lost, nothing waits, and nothing that a store raises gets out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnray.errors import TrackingError
from nnray.tracking import writer as writer_module
from nnray.tracking.spool import Entry, MemorySpool
from nnray.tracking.writer import MAX_ROWS, STRIKES, GivenUp, Refused, Writer, next_batch

LONG_S = 60.0


def metrics(run: str, *values: float) -> Entry:
    return Entry("metrics", run, {"rows": [["loss", value, 0, 0] for value in values]})


def tags(run: str, **values: Any) -> Entry:
    return Entry("tags", run, {"tags": values})


class Store:
    """Keeps what is delivered; fails as it is told to."""

    def __init__(self) -> None:
        self.got: list[Entry] = []
        self.failures: list[Exception] = []
        self.open = threading.Event()
        self.open.set()
        self.called = threading.Event()

    def __call__(self, entry: Entry, /) -> int:
        self.called.set()
        assert self.open.wait(LONG_S)
        if self.failures:
            raise self.failures.pop(0)
        self.got.append(entry)
        return len(self.got)

    def rows(self, run: str) -> list[float]:
        return [
            row[1]
            for entry in self.got
            if entry.run == run and entry.kind == "metrics"
            for row in entry.body["rows"]
        ]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def make() -> Iterator[Callable[..., Writer]]:
    made: list[Writer] = []

    def writer(store: Store, **kwargs: Any) -> Writer:
        made.append(Writer(store, MemorySpool(), **kwargs))
        return made[-1]

    yield writer
    for each in made:
        each.close(0)


Ops = st.lists(st.tuples(st.sampled_from("ab"), st.one_of(st.none(), st.integers(1, 3))), max_size=30)


@settings(max_examples=40)
@given(Ops, st.lists(st.integers(0, 5), max_size=3))
def test_all_arrives_in_the_order_of_each_run_whatever_fails_between(
    ops: list[tuple[str, int | None]], failing: list[int]
) -> None:
    store = Store()
    store.failures = [ConnectionError("down") for _ in failing]
    writer = Writer(store, MemorySpool())
    expected: dict[str, list[float]] = {"a": [], "b": []}
    number = 0.0
    for run, rows in ops:
        if rows is None:
            writer.put(tags(run, n=number))
            continue
        values = [number := number + 1 for _ in range(rows)]
        expected[run] += values
        writer.put(metrics(run, *values))
    assert writer.close(LONG_S) == 0
    for run in "ab":
        assert list(dict.fromkeys(store.rows(run))) == expected[run]
    assert writer.problems() == ()


def test_a_call_returns_while_the_store_hangs(store: Store, make: Callable[..., Writer]) -> None:
    writer = make(store)
    store.open.clear()
    writer.put(tags("a"))
    assert store.called.wait(LONG_S)
    for value in range(5_000):
        writer.put(metrics("a", float(value)))
    assert writer.flush(0) == 5_001
    assert store.got == []
    store.open.set()
    assert writer.flush(LONG_S) == 0
    assert store.rows("a") == [float(value) for value in range(5_000)]


def test_metrics_go_out_in_batches_of_up_to_a_thousand_rows(
    store: Store, make: Callable[..., Writer]
) -> None:
    writer = make(store)
    store.open.clear()
    writer.put(tags("a"))
    assert store.called.wait(LONG_S)
    for value in range(2_500):
        writer.put(metrics("a", float(value)))
    store.open.set()
    assert writer.flush(LONG_S) == 0
    assert [len(entry.body["rows"]) for entry in store.got[1:]] == [1_000, 1_000, 500]


def test_metrics_alone_go_out_without_being_asked_for(store: Store, make: Callable[..., Writer]) -> None:
    make(store).put(metrics("a", 1.0))
    assert store.called.wait(LONG_S)


def test_a_failing_store_raises_nothing_and_says_what_is_unsent(
    store: Store, make: Callable[..., Writer]
) -> None:
    writer = make(store)
    store.failures = [ConnectionError("the store is away")] * 1_000_000
    writer.put(metrics("a", 1.0))
    writer.put(tags("a"))
    assert writer.flush(0.3) == 2
    assert "2 records unsent: ConnectionError: the store is away" in writer.problems()[-1]
    store.failures = []
    assert writer.flush(LONG_S) == 0
    assert writer.problems() == ()
    assert [entry.kind for entry in store.got] == ["metrics", "tags"]


def test_what_the_store_refuses_is_named_and_does_not_hold_up_the_rest(
    store: Store, make: Callable[..., Writer]
) -> None:
    told: list[tuple[str, Any, Exception | None]] = []
    writer = make(store, done=lambda entry, result, error: told.append((entry.run, result, error)))
    store.failures = [Refused("too long")]
    writer.put(tags("bad"))
    writer.put(tags("good"))
    assert writer.flush(LONG_S) == 0
    assert writer.problems() == ("tags of bad: too long",)
    assert [entry.run for entry in store.got] == ["good"]
    assert told[0][0] == "bad"
    assert isinstance(told[0][2], TrackingError)
    assert told[1] == ("good", 1, None)


def test_refusals_beyond_a_hundred_are_counted(store: Store, make: Callable[..., Writer]) -> None:
    writer = make(store)
    store.failures = [Refused("no")] * 150
    for _ in range(150):
        writer.put(tags("a"))
    assert writer.flush(LONG_S) == 0
    assert len(writer.problems()) == 101
    assert writer.problems()[-1] == "and 50 more refused"


def test_close_leaves_in_the_spool_what_a_dead_store_never_took(store: Store) -> None:
    spool = MemorySpool()
    writer = Writer(store, spool)
    store.failures = [ConnectionError("away")] * 1_000_000
    writer.put(tags("a"))
    assert writer.close(0.2) == 1
    assert "1 records unsent: ConnectionError: away" in writer.problems()[0]
    assert list(spool.peek(2)) == [tags("a")]


def test_what_is_delivered_after_close_stays_in_the_spool(store: Store) -> None:
    """Another process may have the spool by then."""
    spool, told = MemorySpool(), list[Entry]()
    writer = Writer(store, spool, done=lambda entry, result, error: told.append(entry))
    store.open.clear()
    writer.put(tags("a"))
    assert store.called.wait(LONG_S)
    assert writer.close(0) == 1
    store.open.set()
    writer._thread.join(LONG_S)
    assert store.got == [tags("a")]
    assert len(spool) == 1
    assert told == []


def test_close_of_a_hanging_store_returns_and_says_so(store: Store) -> None:
    writer = Writer(store, MemorySpool())
    store.open.clear()
    writer.put(tags("a"))
    assert store.called.wait(LONG_S)
    assert writer.close(0) == 1
    assert writer.problems() == ("1 records unsent: the store has not answered yet",)
    store.open.set()


def test_a_closed_writer_takes_nothing(store: Store, make: Callable[..., Writer]) -> None:
    writer = make(store)
    assert writer.close(LONG_S) == 0
    with pytest.raises(TrackingError, match="closed"):
        writer.put(tags("a"))


def test_the_thread_ends_with_close(store: Store) -> None:
    before = threading.active_count()
    writer = Writer(store, MemorySpool())
    assert threading.active_count() == before + 1
    writer.close(LONG_S)
    assert threading.active_count() == before


def test_what_an_earlier_process_left_in_the_spool_is_sent(store: Store) -> None:
    spool = MemorySpool()
    spool.append(tags("a"))
    spool.append(metrics("a", 1.0))
    writer = Writer(store, spool)
    assert writer.close(LONG_S) == 0
    assert [entry.kind for entry in store.got] == ["tags", "metrics"]


def test_a_batch_is_one_entry_or_the_metrics_in_front_by_run() -> None:
    assert next_batch([tags("a"), metrics("a", 1.0)]) == (1, [tags("a")])
    front = [metrics("a", 1.0), metrics("b", 2.0), metrics("a", 3.0), tags("a"), metrics("a", 4.0)]
    assert next_batch(front) == (3, [metrics("a", 1.0, 3.0), metrics("b", 2.0)])


def test_an_entry_larger_than_a_batch_goes_alone() -> None:
    big = metrics("a", *range(MAX_ROWS + 1))
    taken, batch = next_batch([big, metrics("a", 1.0)])
    assert taken == 1
    assert batch == [big]


class Poisoned(Store):
    """Answers, and never takes one kind of entry."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.tries, self.is_up = kind, 0, True

    def __call__(self, entry: Entry, /) -> int:
        if entry.kind == self.kind and entry.run == "bad":
            self.tries += 1
            raise ConnectionError("500")
        return super().__call__(entry)

    def answers(self) -> bool:
        return self.is_up


@pytest.fixture
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "FIRST_RETRY_S", 0.001)
    monkeypatch.setattr(writer_module, "LAST_RETRY_S", 0.002)


class Aside(MemorySpool):
    def __init__(self) -> None:
        super().__init__()
        self.aside: list[Entry] = []

    def set_aside(self, entry: Entry) -> None:
        self.aside.append(entry)


@pytest.mark.usefixtures("no_delay")
@pytest.mark.parametrize("kind", ["tags", "metrics"])
def test_an_entry_that_fails_for_ever_does_not_block_the_others(kind: str) -> None:
    store, spool, told = Poisoned(kind), Aside(), list[tuple[str, Exception | None]]()
    writer = Writer(
        store, spool, done=lambda entry, _, error: told.append((entry.run, error)), answers=store.answers
    )
    bad = tags("bad") if kind == "tags" else metrics("bad", 1.0)
    for entry in (metrics("good", 1.0), bad, metrics("good", 2.0), tags("good")):
        writer.put(entry)
    assert writer.close(LONG_S) == 0
    assert list(dict.fromkeys(store.rows("good"))) == [1.0, 2.0]
    assert spool.aside == [bad]
    assert writer.problems() == (
        f"{kind} of bad: the store failed {STRIKES} times to take it: ConnectionError: 500",
    )
    assert isinstance(dict(told)["bad"], GivenUp)
    assert store.tries >= STRIKES


@pytest.mark.usefixtures("no_delay")
def test_no_entry_is_given_up_while_the_store_is_away() -> None:
    store, spool = Poisoned("tags"), Aside()
    store.is_up = False
    writer = Writer(store, spool, answers=store.answers)
    writer.put(tags("bad"))
    writer.wait(lambda: store.tries > 3 * STRIKES, LONG_S)
    assert writer.close(0) == 1
    assert spool.aside == []


def test_all_waits_together_end_soon_while_the_store_is_away(
    store: Store, make: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "PATIENCE_S", 0.3)
    monkeypatch.setattr(writer_module, "_LEAST_S", 0.05)
    writer = make(store)
    store.failures = [ConnectionError("away")] * 1_000_000
    writer.put(tags("a"))
    began = time.monotonic()
    for _ in range(5):
        assert writer.flush(10 * LONG_S) == 1
    assert time.monotonic() - began < LONG_S
    store.failures = []
    assert writer.flush(LONG_S) == 0


def test_a_wait_ends_soon_where_the_store_hangs(
    store: Store, make: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PATIENCE_S", "_LEAST_S", "_HANGS_S"):
        monkeypatch.setattr(writer_module, name, 0.05)
    writer = make(store)
    writer.put(tags("a"))
    assert writer.flush(LONG_S) == 0
    store.open.clear()
    writer.put(tags("a"))
    assert writer.flush(10 * LONG_S) == 1
    store.open.set()
    assert writer.flush(LONG_S) == 0


def test_a_wait_of_a_store_that_is_slow_takes_its_time(store: Store, make: Callable[..., Writer]) -> None:
    writer = make(store)
    store.open.clear()
    writer.put(tags("a"))
    began = time.monotonic()
    assert writer.flush(0.3) == 1
    assert time.monotonic() - began >= 0.3
    store.open.set()


class Full(MemorySpool):
    def append(self, entry: Entry) -> None:
        raise OSError(28, "No space left on device")


def test_a_full_disk_raises_nothing_and_is_named(store: Store) -> None:
    writer = Writer(store, Full())
    writer.put(tags("a"))
    assert writer.close(LONG_S) == 0
    assert "tags of a can't be kept" in writer.problems()[0]
    assert "No space left" in writer.problems()[0]


class Unreadable(MemorySpool):
    broken = True

    def peek(self, count: int) -> Any:
        if self.broken:
            raise OSError(5, "Input/output error")
        return super().peek(count)


def test_a_spool_that_can_not_be_read_is_tried_again(store: Store) -> None:
    spool = Unreadable()
    writer = Writer(store, spool)
    writer.put(tags("a"))
    writer.wait(lambda: "Input/output" in writer.why(), LONG_S)
    spool.broken = False
    assert writer.close(LONG_S) == 0
    assert store.got == [tags("a")]


@pytest.mark.parametrize("body", [{}, {"rows": None}, {"rows": 5}, {"rows": []}])
def test_damaged_metrics_go_alone_so_that_the_store_refuses_them(body: dict[str, Any]) -> None:
    damaged = Entry("metrics", "a", body)
    assert next_batch([damaged, metrics("a", 1.0)]) == (1, [damaged])
    assert next_batch([metrics("a", 1.0), damaged]) == (1, [metrics("a", 1.0)])


def test_callers_in_many_threads_lose_nothing(store: Store) -> None:
    writer = Writer(store, MemorySpool())

    def call(number: int) -> None:
        for value in range(200):
            writer.put(metrics(f"run {number}", float(value)))
            if value % 50 == 0:
                writer.put(tags(f"run {number}"))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.close(LONG_S) == 0
    for number in range(4):
        assert store.rows(f"run {number}") == [float(value) for value in range(200)]
