"""Which messages go next. No host and no owner takes the places of the others, however slow its receivers are."""

from collections import Counter
from collections.abc import Iterable

from deployments.settings import WebhookSettings
from storage.tasks import NOBODY
from storage.webhooks import Due, Lane


def pick(due: Iterable[Due], sending: Iterable[Lane], settings: WebhookSettings) -> list[Due]:
    """Choose of what is due what may go beside what is `sending`: the owner, then the host, with the least under way.

    Where there are no keys all tasks are nobody's, and only the hosts are bounded.
    """
    under_way, waiting, picked = list(sending), list(due), list[Due]()
    hosts, owners = Counter(each.host for each in under_way), Counter(each.owner for each in under_way)
    while len(under_way) + len(picked) < settings.max_sending:
        waiting = [each for each in waiting if _may_go(each.lane, hosts, owners, settings)]
        if not waiting:
            break
        following = min(waiting, key=lambda each: (owners[each.lane.owner], hosts[each.lane.host], each.due_at))
        waiting.remove(following)
        picked.append(following)
        hosts[following.lane.host] += 1
        owners[following.lane.owner] += 1
    return picked


def _may_go(lane: Lane, hosts: Counter[str], owners: Counter[str], settings: WebhookSettings) -> bool:
    within = lane.owner == NOBODY or owners[lane.owner] < settings.max_per_owner
    return within and hosts[lane.host] < settings.max_per_host
