"""Which messages go next. No host and no owner takes the places of the others, however slow its receivers are."""

from collections import Counter
from collections.abc import Iterable

from deployments.settings import WebhookSettings
from storage.tasks import ANONYMOUS
from storage.webhooks import DeliveryGroup, DueDelivery


def select_deliveries(
    due: Iterable[DueDelivery], sending: Iterable[DeliveryGroup], settings: WebhookSettings
) -> list[DueDelivery]:
    """Choose of what is due what may go beside what is `sending`: the owner, then the host, with the least under way.

    Where there are no keys all tasks are nobody's, and only the hosts are bounded.
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
