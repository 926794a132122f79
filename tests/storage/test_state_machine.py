"""Any sequence of appends, reads, clock steps and reopenings, against a model of a few lines."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from eventflowdb.errors import WrongExpectedVersion
from eventflowdb.storage.spans import ReadBounds
from tests.folders import MachineInFolder

from .samples import (
    OTHER,
    STREAM,
    THIRD,
    Clock,
    OpenDatabase,
    append_of,
    fields_of,
    log_keys,
    read_log,
    read_stream,
    records_of,
)

streams = st.sampled_from([STREAM, OTHER, THIRD])
datas = st.lists(st.text(max_size=5) | st.integers(0, 2000).map(lambda size: "x" * size), min_size=1, max_size=4)
bounds = st.builds(ReadBounds, st.integers(1, 5), st.integers(1, 4000))
errors = st.sampled_from([0, 0, 0, 1, -1, 5])
"""How far an append is from expecting the right version."""


class StoreMachine(MachineInFolder):
    """A store, and what it should hold: the log as a list, each stream as another."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.database = OpenDatabase(self.folder, self.clock)
        self.log: list[bytes] = []
        self.streams: dict[str, list[bytes]] = {}

    @rule(batch=st.lists(st.tuples(streams, errors, datas), min_size=1, max_size=4))
    def append(self, batch: list[tuple[str, int, list[str]]]) -> None:
        counts = {stream: len(records) for stream, records in self.streams.items()}
        appends, actuals = [], []
        for stream, error, events in batch:
            actual = counts.get(stream, 0)
            appends.append(append_of(stream, max(0, actual + error), *events))
            actuals.append(actual)
            if appends[-1].parts[0].expected_version == actual:
                counts[stream] = actual + len(events)
        outcomes = self.database.store.append_batch(appends)
        for append, actual, outcome, (_, _, events) in zip(appends, actuals, outcomes, batch, strict=True):
            if append.parts[0].expected_version == actual:
                self._require_stored(append.parts[0].stream, events, records_of(outcome))
            else:
                assert isinstance(outcome, WrongExpectedVersion)
                assert (outcome.expected, outcome.actual) == (append.parts[0].expected_version, actual)

    def _require_stored(self, stream: str, events: list[str], records: list[bytes]) -> None:
        held = self.streams.setdefault(stream, [])
        for data, record in zip(events, records, strict=True):
            fields = fields_of(record)
            place = (fields["stream"], fields["version"], fields["position"], fields["data"])
            assert place == (stream, len(held), len(self.log) + 1, data)
            held.append(record)
            self.log.append(record)

    @rule(us=st.integers(-3000, 3000) | st.sampled_from([0, -86_400_000_000, 86_400_000_000]))
    def step_clock(self, us: int) -> None:
        self.clock.us += us

    @rule(stream=streams, version=st.integers(0, 12), limit=st.none() | st.integers(0, 12), bounds=bounds)
    def read_stream(self, stream: str, version: int, limit: int | None, bounds: ReadBounds) -> None:
        expected = self.streams.get(stream, [])[version:][:limit]
        assert read_stream(self.database.store, stream, version, limit, bounds) == expected

    @rule(skipped=st.integers(0, 30), off=st.sampled_from([0, 1, -1]), limit=st.integers(0, 30), bounds=bounds)
    def read_log(self, skipped: int, off: int, limit: int, bounds: ReadBounds) -> None:
        numbers = [int.from_bytes(key, "big") for key in log_keys(self.database.store)]
        start = (numbers[skipped] if skipped < len(numbers) else 2**127) + off
        expected = [record for number, record in zip(numbers, self.log, strict=True) if number >= start][:limit]
        assert read_log(self.database.store, start.to_bytes(16, "big"), limit, bounds) == expected

    @rule()
    def reopen(self) -> None:
        self.database.reopen()

    @invariant()
    def counts_are_those_of_the_model(self) -> None:
        store = self.database.store
        assert (store.event_count(), store.stream_count()) == (len(self.log), len(self.streams))
        assert store.head().position == len(self.log)

    def end(self) -> None:
        assert read_log(self.database.store) == self.log

    def close(self) -> None:
        self.database.verify_and_close()


def test_a_store_behaves_like_a_list_and_a_dict_of_lists() -> None:
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
