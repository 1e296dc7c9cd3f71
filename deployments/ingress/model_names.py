"""The names under which a client may ask for the served model.

Many clients offer a fixed list of model names. An alias lets them in; the answer tells which model renders.
"""

import re
from dataclasses import dataclass

from deployments.ingress.schemas import AdjustedField
from models.errors import InvalidRequest

FIELD = "model"
DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$", re.ASCII)
"""The end of a dated name, such as sora-2-2025-12-08."""
ALIAS = "an alias of the model that is served"


@dataclass(frozen=True)
class ModelNames:
    """The served model and its aliases. Names may be written in any case."""

    served: str
    aliases: tuple[str, ...]

    @property
    def listed(self) -> tuple[str, ...]:
        """The names of /v1/models, without duplicates. The served model comes first."""
        return tuple(dict.fromkeys((self.served, *self.aliases)))

    def accepts(self, name: str) -> bool:
        """Whether `name` means the served model: its name or the last part of it, or an alias, dated or not."""
        short = self.served.rpartition("/")[2].partition("@")[0]
        known = {each.lower() for each in (self.served, short, *self.aliases)}
        name = name.lower()
        return name in known or DATE.sub("", name) in known

    def check(self, given: object) -> AdjustedField | None:
        """Return what the answer says about a `model`; None if it is the served name. Raises InvalidRequest."""
        if given == self.served:
            return None
        if not isinstance(given, str) or not self.accepts(given):
            others = f", or an alias of it: {', '.join(self.aliases)}" if self.aliases else ""
            raise InvalidRequest(FIELD, given, f"{self.served}, the one that is served{others}")
        return AdjustedField(field=FIELD, given=given, used=self.served, reason=ALIAS)
