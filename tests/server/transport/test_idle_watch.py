"""server/transport/idle_watch.py alone, by a clock that only the test moves."""

from __future__ import annotations

from server.transport.idle_watch import IdleWatch, Overdue
from server.transport.limits import Limits

LIMITS = Limits(idle_s=100, message_s=10, first_byte_s=100)


def test_a_connection_without_messages_is_overdue() -> None:
    watch = IdleWatch(LIMITS, 1000)
    assert watch.look(1099, 0, partial=False, busy=False, ended=False) is None
    assert watch.look(1100, 0, partial=False, busy=False, ended=False) is Overdue.MESSAGE
    assert watch.look(1101, 1, partial=False, busy=False, ended=False) is None, "a message came"
    assert watch.look(1200, 1, partial=False, busy=False, ended=False) is None
    assert watch.look(1201, 1, partial=False, busy=False, ended=False) is Overdue.MESSAGE


def test_the_first_message_has_less_time() -> None:
    watch = IdleWatch(Limits(idle_s=100, first_byte_s=5), 0)
    assert watch.look(4, 0, partial=False, busy=False, ended=False) is None
    assert watch.look(5, 0, partial=False, busy=False, ended=False) is Overdue.MESSAGE
    assert watch.look(6, 1, partial=False, busy=False, ended=False) is None
    assert watch.look(105, 1, partial=False, busy=False, ended=False) is None
    assert watch.look(106, 1, partial=False, busy=False, ended=False) is Overdue.MESSAGE


def test_calls_in_progress_are_no_silence_however_long_they_take() -> None:
    watch = IdleWatch(LIMITS, 0)
    for now in (0, 1000, 2000):
        assert watch.look(now, 1, partial=False, busy=True, ended=False) is None
    assert watch.look(2099, 1, partial=False, busy=False, ended=False) is None
    assert watch.look(2199, 1, partial=False, busy=False, ended=False) is Overdue.MESSAGE


def test_the_rest_of_a_message_must_come_also_behind_a_long_call() -> None:
    for busy in (False, True):
        watch = IdleWatch(LIMITS, 0)
        assert watch.look(1, 1, partial=True, busy=busy, ended=False) is None
        assert watch.look(10, 1, partial=True, busy=busy, ended=False) is None
        assert watch.look(11, 1, partial=True, busy=busy, ended=False) is Overdue.REST


def test_a_message_that_is_followed_by_another_part_has_its_own_time() -> None:
    watch = IdleWatch(LIMITS, 0)
    watch.look(1, 1, partial=True, busy=False, ended=False)
    assert watch.look(11, 2, partial=True, busy=False, ended=False) is None
    assert watch.look(21, 2, partial=True, busy=False, ended=False) is Overdue.REST


def test_after_the_end_the_peer_has_the_time_of_a_message_to_close() -> None:
    watch = IdleWatch(LIMITS, 0)
    assert watch.look(9, 0, partial=False, busy=False, ended=True) is None
    assert watch.look(10, 0, partial=False, busy=False, ended=True) is Overdue.CLOSE
