"""Who runs while a batch is staged."""

from threading import Thread

from eventflowdb.service.turns import StagingTurn


def test_the_reactor_stands_back_until_the_batch_is_staged() -> None:
    turn = StagingTurn()
    seen: list[str] = []
    turn.begin()

    def stage() -> None:
        seen.append("staged")
        turn.end()

    thread = Thread(target=stage)
    thread.start()
    thread.join()
    turn.stand_back()
    assert seen == ["staged"]


def test_it_stands_back_once_a_batch_and_not_for_ever() -> None:
    turn = StagingTurn()
    turn.begin()
    turn.stand_back()
    turn.stand_back()
    turn.end()
    turn.begin()
    turn.end()


def test_the_end_may_be_said_twice_and_no_turn_is_no_wait() -> None:
    turn = StagingTurn()
    turn.stand_back()
    turn.begin()
    turn.end()
    turn.end()
    turn.stand_back()
    turn.begin()
    turn.end()
