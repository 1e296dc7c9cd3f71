"""Webhook urls that a client may use, and addresses that a webhook may reach."""

import json
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from deployments.ingress.webhooks.ssrf import NEVER, is_public
from tests.ingress.webhooks.receivers import SECRET

SIGNED = {"secret": SECRET}


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.1", "172.16.0.1", "192.168.1.26", "100.64.0.1", "127.0.0.1", "169.254.169.254", "0.0.0.0"),
        *("224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
        *("::1", "::", "fe80::1", "fe80::1%1", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "2001:db8::1"),
        *("::ffff:10.0.0.1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254"),
        *("2002:7f00:1::", "2001:0:7f00:1::", "64:ff9b:1::1", "100::1"),
        *("192.0.0.192", "192.0.0.8", "192.0.0.9", "168.63.129.16", "192.88.99.1", "100.100.100.200", "192.31.196.1"),
        *("3fff::1", "3fff:fff:ffff::1", "5f00::1", "2001:20::1", "2001:1::1", "2620:4f:8000::1", "fd00:ec2::254"),
        *("::ffff:168.63.129.16", "::ffff:0:10.0.0.1", "64:ff9b::c000:c0", "2002:a83f:8110::", "2002:c0a8:101::1"),
        *("64:ff9b:1:ffff::a00:1", "2001:0:4136:e378:8000:63bf:f5ff:fffe", "::192.168.0.1", "::ffff:6440:1"),
        *("2606:4700::1111%eth0", "100:0:0:1::1"),
    ],
)
def test_an_address_that_only_this_network_reaches_is_not_public(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("network", NEVER)
def test_the_first_and_the_last_address_of_a_network_that_is_never_reached_are_not_public(network):
    never = ip_network(network)
    for address in (never[0], never[-1], never[never.num_addresses // 2]):
        assert not is_public(address)
        if isinstance(address, IPv4Address):
            assert not is_public(IPv6Address(f"::ffff:{address}"))
            assert not is_public(IPv6Address(f"64:ff9b::{address}"))
            assert not is_public(IPv6Address(0x2002 << 112 | int(address) << 80))


def test_each_network_has_its_reason_and_a_neighbour_that_is_public():
    assert all(len(reason) > 10 for reason in NEVER.values())
    for address in ("168.63.129.15", "168.63.129.17", "191.255.255.255", "192.0.1.1", "192.88.98.1", "192.88.100.1"):
        assert is_public(ip_address(address)), address
    for address in ("2001:200::1", "2001:db7:ffff::1", "2620:4f:8001::1", "2a00::1"):
        assert is_public(ip_address(address)), address


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"]
)
def test_an_address_of_the_open_internet_is_public(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ftp://hooks.example/",
            "hooks.example/ended",
            "//hooks.example",
            "javascript:alert(1)",
            "file:///etc/passwd",
        ),
        *(
            "http://",
            "http://a b.example/",
            "http://hooks.example:99999/",
            "x",
            "http://a.example/" + "x" * 2000,
            "http://a.example/" + "é" * 900,
        ),
        *("http://name@hooks.example/", "http://name:word@hooks.example/", "http://:word@hooks.example/"),
        *("http://127.0.0.1:8004/", "http://127.1/", "http://0x7f.0.0.1/", "http://2130706433/", "http://0/"),
        *("http://localhost/", "http://LOCALHOST./", "http://box.localhost/", "http://192.168.1.26:8080/ended"),
        *(
            "http://169.254.169.254/latest/meta-data/",
            "http://[::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://[fe80::1]/",
        ),
        *("http://\uff11\uff12\uff17.0.0.1/", "http://224.0.0.1/", "http://0.0.0.0/"),
        *("http://168.63.129.16/", "http://0xa83f8110/", "http://[::ffff:a83f:8110]/", "http://192.0.0.192/"),
        *("http://[3fff::1]/", "http://[64:ff9b:1::1]/", "http://[2002:a83f:8110::1]/", "http://0300.0.0.0300/"),
    ],
)
def test_a_url_that_may_not_be_told_is_refused_by_its_name(open_box, url):
    box = open_box(webhooks=SIGNED)
    answer = box.client.post("/v1/video/async_t2v", json={"prompt": "a lighthouse", "webhook_url": url})
    assert (answer.status_code, answer.json()["field"]) == (422, "webhook_url"), answer.text
    assert box.tasks.counts()["queued"] == 0


@pytest.mark.parametrize("value", [7, True, ["http://hooks.example/"], {}, "http://hooks.example/\ud800"])
def test_what_is_no_url_at_all_is_refused_by_its_name(open_box, value):
    box = open_box(webhooks=SIGNED)
    answer = box.client.post("/v1/video/async_t2v", content=json.dumps({"prompt": "x", "webhook_url": value}))
    assert (answer.status_code, answer.json()["field"]) == (422, "webhook_url"), answer.text


def test_a_refusal_does_not_repeat_a_password(open_box):
    box = open_box(webhooks=SIGNED)
    url = "http://name:pass-word@hooks.example/"
    answer = box.client.post("/v1/video/async_t2v", json={"prompt": "a lighthouse", "webhook_url": url})
    assert "pass-word" not in answer.text


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://hooks.example/ended?token=1", "https://hooks.example/ended?token=1"),
        ("HTTPS://Hooks.Example:443", "https://hooks.example/"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://8.8.8.8:9000/x", "http://8.8.8.8:9000/x"),
        (None, None),
    ],
)
def test_a_url_is_kept_in_the_one_way_to_spell_it(open_box, given, kept):
    box = open_box(webhooks=SIGNED)
    assert box.row(box.submit(webhook_url=given)).request.webhook_url == kept


def test_private_addresses_are_taken_where_the_settings_allow_them(open_box):
    box = open_box(webhooks={**SIGNED, "allow_private": True})
    for url in ("http://127.0.0.1:9000/", "http://localhost/", "http://[::1]/", "http://192.168.1.26/"):
        assert box.row(box.submit(webhook_url=url)).request.webhook_url == url


def test_without_a_secret_a_url_is_refused_with_what_to_set(box):
    answer = box.client.post("/v1/video/async_t2v", json={"prompt": "x", "webhook_url": "https://hooks.example/"})
    assert (answer.status_code, answer.json()["field"]) == (422, "webhook_url")
    assert "LTX2_WEBHOOKS__SECRET" in answer.json()["error"]
