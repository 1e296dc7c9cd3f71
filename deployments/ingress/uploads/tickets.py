"""Upload tickets: signed texts that allow one upload of a file, and later its use by the same owner.

A ticket holds its own facts and a signature with the secret that all replicas share. So no replica stores tickets.
"""

import base64
import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass

from deployments.ingress.uploads.kinds import UploadKind
from storage.tasks import TASK_ID_BYTES

TICKET_TTL_S = 3600
TICKET_SIGNING = "uploads"
"""The name of the secret that signs tickets."""
TICKET = re.compile(
    rf"up_([0-9a-f]{{32}})_([0-9]{{10}})(?:_({'|'.join(UploadKind)}))?_([A-Za-z0-9_-]{{43}})(?:_([A-Za-z0-9._@-]+))?"
)


@dataclass(frozen=True)
class UploadTicket:
    """Allows its owner to upload one file. `id` is the name of the file under `inputs/`.

    `kind` is what the file must be; None allows any.
    """

    id: str
    owner: str
    expires_at: int
    kind: UploadKind | None = None

    def encode(self, secret: bytes) -> str:
        """The ticket as text, signed."""
        facts = f"{self.expires_at}_{self.kind}" if self.kind else str(self.expires_at)
        text = f"up_{self.id}_{facts}_{self._signature(secret)}"
        return f"{text}_{self.owner}" if self.owner else text

    def _signature(self, secret: bytes) -> str:
        signed = f"{self.id}\n{self.expires_at}\n{self.owner}" + (f"\n{self.kind}" if self.kind else "")
        digest = hmac.digest(secret, signed.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    @property
    def is_expired(self) -> bool:
        """Whether the ticket has expired."""
        return self.expired_for(0)

    def expired_for(self, seconds: float) -> bool:
        """Whether the ticket expired longer ago than this."""
        return self.expires_at + seconds < time.time()


def new_ticket(owner: str, kind: UploadKind | None = None) -> UploadTicket:
    """Make a ticket that expires after TICKET_TTL_S."""
    return UploadTicket(secrets.token_hex(TASK_ID_BYTES), owner, int(time.time()) + TICKET_TTL_S, kind)


def read_ticket(text: str, secret: bytes) -> UploadTicket | None:
    """Return the ticket in a text; None if its signature is not valid. The ticket may have expired."""
    found = TICKET.fullmatch(text)
    if found is None:
        return None
    ticket = UploadTicket(found[1], found[5] or "", int(found[2]), UploadKind(found[3]) if found[3] else None)
    return ticket if hmac.compare_digest(ticket.encode(secret), text) else None
