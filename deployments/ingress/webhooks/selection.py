"""Selects the next deliveries, so that slow receivers of one host or owner do not block the others."""

from collections import Counter
from collections.abc import Iterable

from deployments.settings import WebhookSettings
from storage.tasks import ANONYMOUS
from storage.webhooks import DeliveryGroup, DueDelivery


def select_deliveries(
    due: Iterable[DueDelivery], sending: Iterable[DeliveryGroup], settings: WebhookSettings
) -> list[DueDelivery]:
    """Select due deliveries to send beside those in `sending`.

    The owner with the fewest deliveries in progress goes first, then the host with the fewest.
    Without API keys all tasks are anonymous, and only the number per host is limited.
    """
    under_way, waiting, picked = list(sending), list(due), list[DueDelivery]()
    hosts, owners = Counter(each.host for each in under_way), Counter(each.owner for each in under_way)
    while len(under_way) + len(picked) < settings.max_concurrent_deliveries:
        waiting = [each for each in waiting if _is_allowed(each.group, hosts, owners, settings)]
        if not waiting:
            break
        following = min(waiting, key=lambda each: (owners[each.group.owner], hosts[each.group.host], each.due_at))
        waiting.remove(following)
        picked.append(following)
        hosts[following.group.host] += 1
        owners[following.group.owner] += 1
    return picked


def _is_allowed(group: DeliveryGroup, hosts: Counter[str], owners: Counter[str], settings: WebhookSettings) -> bool:
    within = group.owner == ANONYMOUS or owners[group.owner] < settings.max_per_owner
    return within and hosts[group.host] < settings.max_per_host
