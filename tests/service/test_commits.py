"""How the commits have gone: counts, batch sizes, times."""

from eventflowdb.service.commits import Commits


def test_of_no_commits_all_figures_are_zero() -> None:
    commits = Commits()
    assert (commits.count, commits.failed, commits.appends_max, commits.seconds_max) == (0, 0, 0, 0.0)
    assert [commits.percentile(percent) for percent in (0, 50, 99, 100)] == [0.0] * 4


def test_commits_add_up() -> None:
    commits = Commits()
    for appends, seconds in [(3, 0.5), (1, 0.25), (8, 0.125)]:
        commits.add(appends, seconds, is_failed=False)
    assert (commits.count, commits.appends, commits.appends_max) == (3, 12, 8)
    assert (commits.seconds, commits.seconds_max) == (0.875, 0.5)
    assert [commits.percentile(percent) for percent in (0, 50, 99, 100)] == [0.125, 0.25, 0.25, 0.5]


def test_one_that_failed_is_only_counted_as_such() -> None:
    commits = Commits()
    commits.add(5, 9.0, is_failed=True)
    assert (commits.failed, commits.count, commits.appends, commits.seconds_max) == (1, 0, 0, 0.0)


def test_percentiles_are_those_of_the_latest_commits_and_the_longest_stays() -> None:
    commits = Commits()
    commits.add(1, 100.0, is_failed=False)
    for _ in range(1024):
        commits.add(1, 1.0, is_failed=False)
    assert commits.percentile(100) == 1.0
    assert commits.seconds_max == 100.0
    assert commits.count == 1025
