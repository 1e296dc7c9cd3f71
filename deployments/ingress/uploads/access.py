"""Creates upload tickets for a client, and reads the file that was sent with one."""

from dataclasses import dataclass

from fastapi import Request

from deployments.ingress.context import AppContext
from deployments.ingress.middleware.auth import request_owner
from deployments.ingress.uploads.kinds import UploadKind
from deployments.ingress.uploads.tickets import TICKET_SIGNING, new_ticket, read_ticket
from models.errors import InvalidRequest
from storage.outputs.store import input_key
from storage.tasks import ANONYMOUS


@dataclass(frozen=True)
class Upload:
    """An upload that a client may make: the ticket as text, and the url that takes the file."""

    id: str
    put_url: str
    expires_at: int


@dataclass(frozen=True)
class UploadWords:
    """How one API names a ticket, for its errors. `usable_s` is how long a file is usable after the url's end."""

    field: str
    ticket: str
    source: str
    usable_s: int = 0


async def create_upload(context: AppContext, request: Request, kind: UploadKind | None = None) -> Upload:
    """Create an upload for the owner of the request. Without a kind, that of the file decides on its bound."""
    secret = await context.write_threads.run(context.tasks.shared_secret, TICKET_SIGNING)
    ticket = new_ticket(request_owner(request) or ANONYMOUS, kind)
    upload_id = ticket.encode(secret)
    return Upload(upload_id, f"{context.base_url(request)}/uploads/{upload_id}", ticket.expires_at)


async def read_upload(context: AppContext, request: Request, upload_id: str, words: UploadWords) -> bytes:
    """Return the file that the owner of the request sent. Raises InvalidRequest."""
    owner = request_owner(request) or ANONYMOUS
    return await context.file_threads.run(_read, context, upload_id, owner, words)


def _read(context: AppContext, upload_id: str, owner: str, words: UploadWords) -> bytes:
    ticket = read_ticket(upload_id, context.tasks.shared_secret(TICKET_SIGNING))
    if ticket is None or ticket.owner != owner:
        raise InvalidRequest(words.field, upload_id, f"{words.ticket} of {words.source}")
    if ticket.expired_for(words.usable_s):
        raise InvalidRequest(words.field, upload_id, f"{words.ticket} that has not expired; create a new one")
    try:
        return b"".join(context.outputs.open(input_key(ticket.id)))
    except FileNotFoundError:
        raise InvalidRequest(words.field, upload_id, f"{words.ticket} whose file was sent to its url") from None
