"""Promise: the receivers of one owner, or one host, do not slow the deliveries of others."""

from deployments.ingress.webhooks.turns import pick
from deployments.settings import WebhookSettings
from storage.tasks import NOBODY
from storage.webhooks import Due, Lane

SETTINGS = WebhookSettings(max_sending=6, max_per_host=2, max_per_owner=3)


def due(*lanes: Lane) -> list[Due]:
    """What is due for as long as it stands in front."""
    return [Due(number, lane, float(number)) for number, lane in enumerate(lanes)]


def of(owner: str, count: int) -> list[Lane]:
    """Lanes to so many hosts."""
    return [Lane(owner, f"{number}.{owner or 'nobody'}.example") for number in range(count)]


def owners(picked: list[Due]) -> list[str]:
    return [each.lane.owner for each in picked]


def test_an_owner_has_no_more_under_way_than_its_bound():
    assert owners(pick(due(*of("alice", 9)), [], SETTINGS)) == ["alice"] * 3
    assert pick(due(*of("alice", 9)), of("alice", 3), SETTINGS) == []
    assert owners(pick(due(*of("alice", 9), *of("bob", 1)), of("alice", 3), SETTINGS)) == ["bob"]


def test_of_several_owners_the_one_with_the_least_under_way_goes_first():
    waiting = due(*of("alice", 5), *of("bob", 2), *of("carol", 2))
    assert owners(pick(waiting, of("alice", 2), SETTINGS)) == ["bob", "carol", "bob", "carol"]


def test_of_several_hosts_the_one_with_the_least_under_way_goes_first():
    slow, living = Lane(NOBODY, "slow.example"), Lane(NOBODY, "living.example")
    assert [each.lane for each in pick(due(slow, living), [slow], SETTINGS)] == [living, slow]


def test_what_is_due_the_longest_goes_first_for_one_owner():
    waiting = due(*of("alice", 3))
    assert pick(waiting[::-1], [], SETTINGS) == waiting


def test_a_host_has_no_more_under_way_than_its_bound_whoever_names_it():
    shared = [Lane(owner, "slow.example") for owner in ("alice", "bob", "carol")]
    assert owners(pick(due(*shared), [], SETTINGS)) == ["alice", "bob"]
    assert pick(due(*shared), shared[:2], SETTINGS) == []


def test_without_keys_only_the_hosts_are_bounded():
    assert len(pick(due(*of(NOBODY, 9)), [], SETTINGS)) == 6
    assert len(pick(due(*of(NOBODY, 9)), of("alice", 4), SETTINGS)) == 2
