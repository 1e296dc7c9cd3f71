"""Promise: the receivers of one owner, or one host, do not delay the deliveries of others."""

from deployments.ingress.webhooks.worker import select_deliveries
from deployments.settings import WebhookSettings
from storage.tasks import ANONYMOUS
from storage.webhooks import DeliveryGroup, DueDelivery

SETTINGS = WebhookSettings(max_concurrent_deliveries=6, max_per_host=2, max_per_owner=3)


def due(*lanes: DeliveryGroup) -> list[DueDelivery]:
    """The due deliveries, in the order of their due time."""
    return [DueDelivery(number, lane, float(number)) for number, lane in enumerate(lanes)]


def of(owner: str, count: int) -> list[DeliveryGroup]:
    """Delivery groups for this number of hosts."""
    return [DeliveryGroup(owner, f"{number}.{owner or 'nobody'}.example") for number in range(count)]


def owners(picked: list[DueDelivery]) -> list[str]:
    return [each.group.owner for each in picked]


def test_an_owner_has_no_more_under_way_than_its_bound():
    assert owners(select_deliveries(due(*of("alice", 9)), [], SETTINGS)) == ["alice"] * 3
    assert select_deliveries(due(*of("alice", 9)), of("alice", 3), SETTINGS) == []
    assert owners(select_deliveries(due(*of("alice", 9), *of("bob", 1)), of("alice", 3), SETTINGS)) == ["bob"]


def test_of_several_owners_the_one_with_the_least_under_way_goes_first():
    waiting = due(*of("alice", 5), *of("bob", 2), *of("carol", 2))
    assert owners(select_deliveries(waiting, of("alice", 2), SETTINGS)) == ["bob", "carol", "bob", "carol"]


def test_of_several_hosts_the_one_with_the_least_under_way_goes_first():
    slow, living = DeliveryGroup(ANONYMOUS, "slow.example"), DeliveryGroup(ANONYMOUS, "living.example")
    assert [each.group for each in select_deliveries(due(slow, living), [slow], SETTINGS)] == [living, slow]


def test_what_is_due_the_longest_goes_first_for_one_owner():
    waiting = due(*of("alice", 3))
    assert select_deliveries(waiting[::-1], [], SETTINGS) == waiting


def test_a_host_has_no_more_under_way_than_its_bound_whoever_names_it():
    shared = [DeliveryGroup(owner, "slow.example") for owner in ("alice", "bob", "carol")]
    assert owners(select_deliveries(due(*shared), [], SETTINGS)) == ["alice", "bob"]
    assert select_deliveries(due(*shared), shared[:2], SETTINGS) == []


def test_without_keys_only_the_hosts_are_bounded():
    assert len(select_deliveries(due(*of(ANONYMOUS, 9)), [], SETTINGS)) == 6
    assert len(select_deliveries(due(*of(ANONYMOUS, 9)), of("alice", 4), SETTINGS)) == 2
