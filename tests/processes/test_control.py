"""What the supervisor and its children tell each other."""

import os
from pathlib import Path

from eventflowdb.config import read_settings
from eventflowdb.limits import RESTART_CALM_SECONDS, RESTART_PAUSE_SECONDS_MAX, RESTART_PAUSE_SECONDS_MIN
from eventflowdb.processes.children import Pause
from eventflowdb.processes.control import Front, Ready, Start, Stop, control_pair, receive, send


def test_settings_arrive_as_they_were_read() -> None:
    given = {"PASSWORD": "sécret", "DATA": "/tmp/\udcff data", "WORKERS": "2"}
    settings = read_settings(given, {})
    here, there = control_pair()
    with here, there:
        start = Start(settings=settings, index=1, supervisor=7, port=6543, clients_max=10, reactor=None, listener=5)
        assert send(here, start)
        assert receive(there) == (start, [])
    assert settings.data == Path("/tmp/\udcff data")


def test_messages_come_one_by_one_each_with_its_descriptor() -> None:
    here, there = control_pair()
    reading, writing = os.pipe()
    with here, there:
        assert send(here, Front(0), writing)
        assert send(here, Stop())
        message, [descriptor] = receive(there)
        assert message == Front(0)
        os.write(descriptor, b"x")
        assert os.read(reading, 2) == b"x"
        assert receive(there) == (Stop(), [])
    for number in (reading, writing, descriptor):
        os.close(number)


def test_the_end_of_the_other_side_is_read_and_no_message_reaches_it() -> None:
    here, there = control_pair()
    with here:
        there.close()
        assert receive(here) == (None, [])
        assert not send(here, Ready(1))


def test_the_pause_before_a_restart_grows_until_a_process_has_lived() -> None:
    pause = Pause()
    pauses = [pause.after(0.0) for _ in range(10)]
    assert pauses[:3] == [RESTART_PAUSE_SECONDS_MIN, 2 * RESTART_PAUSE_SECONDS_MIN, 4 * RESTART_PAUSE_SECONDS_MIN]
    assert pauses[-1] == RESTART_PAUSE_SECONDS_MAX
    assert pause.after(RESTART_CALM_SECONDS) == RESTART_PAUSE_SECONDS_MIN
