"""Where a Redis is: every form of URL, and no password anywhere."""

from __future__ import annotations

from typing import Any

import pytest

from millpond.errors import ConfigurationError
from millpond.io.redis_url import RedisSettings, named


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("redis://", {}),
        ("redis://h", {"host": "h"}),
        ("redis://h:7/3", {"host": "h", "port": 7, "db": 3}),
        ("valkeys://h", {"host": "h", "tls": True}),
        ("redis://[::1]:7", {"host": "::1", "port": 7}),
        ("redis://[::1]", {"host": "::1"}),
        ("redis://:p%40%2F:w@h", {"host": "h", "password": "p@/:w"}),
        ("redis://u:p@h", {"host": "h", "username": "u", "password": "p"}),
        ("redis://u@h", {"host": "h", "username": "u"}),
        ("redis://h?db=2&client_name=me", {"host": "h", "db": 2, "client_name": "me"}),
        (
            "rediss://h?ssl_ca_certs=/ca&ssl_cert_reqs=none&check_hostname=no",
            {"host": "h", "tls": True, "ca": "/ca", "verify": False, "check_hostname": False},
        ),
        ("unix:///run/r%20s.sock?db=1", {"path": "/run/r s.sock", "db": 1}),
        ("unix://:pw@/run/r.sock", {"path": "/run/r.sock", "password": "pw"}),
        (
            "redis+sentinel://u:p@a,b:7/main/2",
            {
                "sentinels": (("a", 26379), ("b", 7)),
                "service": "main",
                "db": 2,
                "username": "u",
                "password": "p",
            },
        ),
        ("rediss+cluster://a,b:7", {"nodes": (("a", 6379), ("b", 7)), "tls": True}),
    ],
)
def test_urls(url: str, wanted: dict[str, Any]) -> None:
    assert RedisSettings.from_url(url) == RedisSettings(**wanted)


@pytest.mark.parametrize(
    "url",
    [
        "http://:s3cret@h",
        "redis//:s3cret@h",
        "redis://:s3cret@h:port",
        "redis://:s3cret@h:70000",
        "redis://:s3cret@h/one",
        "redis://:s3cret@h/-1",
        "redis://:s3cret@h?unknown=1",
        "redis://:s3cret@h?verify=perhaps",
        "unix://:s3cret@",
        "redis+sentinel://:s3cret@h",
        "redis+cluster://:s3cret@h/1",
        "redis+cluster://:s3cret@",
        "s3cret",
    ],
)
def test_what_is_no_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisSettings.from_url(url)
    error: BaseException | None = caught.value
    while error is not None:
        assert "s3cret" not in str(error)
        error = error.__cause__


def test_keywords_win_over_the_url() -> None:
    assert RedisSettings.from_url("redis://h/1", db=2, password="p").db == 2


def test_no_password_is_shown() -> None:
    settings = RedisSettings(
        host="h", username="u", password="s3cret", sentinel_password="s3cret", key_password="s3cret"
    )
    assert repr(settings) == "RedisSettings(host='h', port=6379, username='u')"
    assert "s3cret" not in settings.where


@pytest.mark.parametrize(
    "given",
    [
        {"path": "/s", "nodes": (("a", 1),)},
        {"sentinels": (("a", 1),)},
        {"service": "main"},
        {"nodes": (("a", 1),), "db": 1},
        {"port": 0},
        {"key": "/key"},
        {"credentials": object(), "password": "p"},
    ],
)
def test_settings_that_contradict_each_other_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        RedisSettings(**given)


def test_addresses_are_named_as_urls_name_them() -> None:
    assert named(("h", 1)) == "h:1"
    assert named(("::1", 1)) == "[::1]:1"
