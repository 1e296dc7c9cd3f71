"""https: the connection goes to the checked address, and the certificate must match the name."""

import asyncio

import pytest

from storage.webhooks import DeliveryState, DeliveryStatus
from tests.certificates import certificate, server_context
from tests.ingress.webhooks.receivers import Receiver

REFUSED = DeliveryStatus(DeliveryState.PENDING, 1, "no connection to its host")


@pytest.fixture
def certified(tmp_path, monkeypatch):
    """A receiver with a trusted certificate for hooks.example."""
    file = certificate("hooks.example", tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with Receiver(tls=server_context(file)).serving() as receiver:
        yield receiver


def send(outbox, receiver, host: str) -> DeliveryStatus:
    outbox.names.answers = {host: [["127.0.0.1"]]}
    task = outbox.end(receiver.url(host))
    asyncio.run(outbox.send_due())
    return outbox.standing(task)


def test_a_receiver_with_the_certificate_of_its_name_is_told(outbox, certified):
    assert send(outbox, certified, "hooks.example") == DeliveryStatus(DeliveryState.DELIVERED, 1)
    assert certified.messages[0].verified()["type"] == "video.completed"


def test_a_certificate_of_another_name_is_not_believed(outbox, certified):
    assert send(outbox, certified, "other.example") == REFUSED
    assert certified.messages == []


def test_a_certificate_that_nobody_trusts_is_not_believed(outbox, certified, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    assert send(outbox, certified, "hooks.example") == REFUSED
    assert certified.messages == []
