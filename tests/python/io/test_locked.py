"""Entries that are compressed, encrypted or signed, and those that were tampered with."""

import base64
import os
import pickle
import random
import subprocess
import sys
import tracemalloc
from typing import Any

import pytest
import zstandard

from millpond import _engine
from millpond.errors import ConfigurationError, MissingExtraError, OptionTypeError
from millpond.io import compression
from millpond.io.codecs import Codec, Unencodable, Unreadable
from millpond.io.encryption import Keyring
from millpond.io.signing import Signer

KEYS = [bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))]
TEXT = "the stream stores so that the wheel never waits " * 100
NOISE = random.Random(1).randbytes(5000)


def entry(codec: Codec, value: Any, key: str = "k", **more: Any) -> bytes:
    return codec.encode(value, key=key, **{"stored_us": 10, "expires_us": 20, **more})


def kind(codec: Codec, data: bytes, key: str = "k") -> str:
    with pytest.raises(Unreadable) as caught:
        codec.decode(data, key=key)
    return caught.value.kind


# ---- compression


def test_a_value_is_compressed_where_it_saves_a_tenth() -> None:
    codec = Codec()
    data = entry(codec, TEXT)
    head = codec.head(data)
    assert head.compressed
    assert head.size < len(TEXT) / 10
    assert head.content_size > len(TEXT)
    assert codec.decode(data, key="k") == TEXT
    for value in (NOISE, TEXT[:1000]):
        data = entry(codec, value)
        assert not codec.head(data).compressed
        assert codec.decode(data, key="k") == value
    assert not codec.head(entry(Codec(compress=False), TEXT)).compressed
    assert Codec(compress=False).decode(entry(codec, TEXT), key="k") == TEXT


def test_just_enough_and_just_too_little_to_be_compressed() -> None:
    least = compression.LEAST_BYTES
    assert compression.compressed(b"x" * least) is not None
    assert compression.compressed(b"x" * (least - 1)) is None
    saving = NOISE[:900] + bytes(200)
    packed = zstandard.ZstdCompressor().compress(saving)
    assert len(packed) < 0.9 * len(saving)
    assert compression.compressed(saving) == packed
    assert compression.compressed(NOISE[:1000] + bytes(100)) is None


def sealed(payload: bytes, content_size: int, flags: int = 1, codec: int = 1) -> bytes:
    return _engine.make_entry(codec, flags, content_size, 0, 10, 20, 0, 0.0, 0.0, [], payload)


def test_a_bomb_costs_no_more_than_it_says_and_is_damaged() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(100 * 2**20))
    assert len(bomb) < 20_000
    tracemalloc.start()
    assert kind(Codec(), sealed(bomb, 1000)) == "damaged"
    assert kind(Codec(), sealed(bomb, 100 * 2**20)) == "oversized"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000
    # The same without its size in the frame: it is never unpacked.
    stream = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(10**7))
    assert kind(Codec(), sealed(stream, 1000)) == "damaged"
    assert kind(Codec(), sealed(stream, 10**7)) == "damaged"


def test_a_payload_that_is_not_what_it_should_unpack_to_is_damaged() -> None:
    packed = zstandard.ZstdCompressor().compress(_engine.encode_tagged(TEXT, 10**6))
    size = len(TEXT) + 3
    assert Codec().decode(sealed(packed, size), key="k") == TEXT
    for payload in (packed[:-1], packed + b"\0", packed * 2, packed[:20] + packed[21:], b"", b"x"):
        assert kind(Codec(), sealed(payload, size)) == "damaged"
    for other in (size - 1, size + 1, 0):
        assert kind(Codec(), sealed(packed, other)) == "damaged"


class NotThere:
    """Finds no package of these names."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in self.names:
            raise ImportError(name)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Any:
    def remove(*names: str) -> None:
        for loaded in list(sys.modules):
            if loaded.partition(".")[0] in names:
                monkeypatch.delitem(sys.modules, loaded)
        monkeypatch.setattr(sys, "meta_path", [NotThere(*names), *sys.meta_path])
        monkeypatch.setattr(compression, "_looked", False)
        monkeypatch.setattr(compression, "_found", None)

    return remove


def test_without_zstd_nothing_is_compressed_and_the_engine_reads_what_was(without: Any) -> None:
    small = TEXT[:1500]
    assert len(small) < _engine.SMALL_CONTENT < len(TEXT)
    before = [(value, entry(Codec(), value)) for value in (small, TEXT)]
    content = _engine.encode_tagged(TEXT, 10**6)
    checked = zstandard.ZstdCompressor(write_checksum=True).compress(content)
    without("zstandard", "compression")
    codec = Codec()
    for value, data in before:
        assert codec.head(data).compressed
        assert codec.decode(data, key="k") == value
    # What the engine does not read, and we do not write, is a miss.
    assert kind(codec, sealed(checked, len(content))) == "extra"
    data = entry(codec, TEXT)
    assert not codec.head(data).compressed
    assert codec.decode(data, key="k") == TEXT


class Frame:
    """What `compression.zstd` and zstandard say of a frame, in the former's words."""

    def __init__(self, packed: bytes) -> None:
        size = zstandard.get_frame_parameters(packed).content_size
        self.decompressed_size = None if size == zstandard.CONTENTSIZE_UNKNOWN else size


class StandardDecompressor:
    """The face of `compression.zstd.ZstdDecompressor`, on zstandard."""

    def __init__(self) -> None:
        self.eof = False
        self.needs_input = True
        self.unused_data = b""
        self._object = zstandard.ZstdDecompressor().decompressobj()

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        content = self._object.decompress(data)
        self.eof = self._object.eof
        self.unused_data = self._object.unused_data
        assert len(content) <= max_length
        return content


class StandardZstd:
    """The face of `compression.zstd`, which CPython has from 3.14 on."""

    ZstdError = zstandard.ZstdError
    ZstdDecompressor = StandardDecompressor

    @staticmethod
    def compress(data: bytes, level: int) -> bytes:
        return zstandard.ZstdCompressor(level=level).compress(data)

    @staticmethod
    def get_frame_info(packed: bytes) -> Frame:
        return Frame(packed)


def test_the_standard_library_s_zstd_serves_as_well() -> None:
    compress, decompress = compression.with_standard(StandardZstd)
    content = TEXT.encode()
    packed = compress(content)
    assert decompress(packed, len(content)) == content
    assert zstandard.decompress(packed) == content
    for bad in (packed[:-1], packed + b"\0", packed * 2, b"", b"x"):
        assert decompress(bad, len(content)) is None
    assert decompress(packed, len(content) - 1) is None


# ---- encryption


def test_an_encrypted_entry_shows_nothing_and_comes_back() -> None:
    codec = Codec(keyring=Keyring([KEYS[0]]))
    for value in ("a secret", TEXT, None, NOISE):
        data = entry(codec, value)
        assert codec.head(data).encrypted
        assert b"secret" not in data
        assert b"stream" not in data
        assert codec.decode(data, key="k") == value
    assert codec.head(entry(codec, TEXT)).compressed
    assert entry(codec, "a") != entry(codec, "a")
    assert repr(codec) == "<Codec tagged, encrypted>"


def test_keys_are_changed_one_by_one() -> None:
    old = Codec(keyring=Keyring([KEYS[0]]))
    both = Codec(keyring=Keyring([KEYS[1], KEYS[0]]))
    new = Codec(keyring=Keyring([KEYS[1]]))
    by_old, by_both = entry(old, 1), entry(both, 2)
    assert both.decode(by_old, key="k") == 1
    assert new.decode(by_both, key="k") == 2
    assert kind(new, by_old) == "key"
    assert kind(old, by_both) == "key"


def test_an_entry_is_bound_to_its_key_and_to_its_header() -> None:
    codec = Codec(keyring=Keyring(KEYS))
    data = entry(codec, "a", key="mine")
    assert kind(codec, data, key="yours") == "key"
    # A later end of its life, or another stamp, with checksums that fit.
    payload = _engine.payload_of(codec.head(data))
    header = (1, 2, 2, 0, 10)
    same = _engine.make_entry(*header, 20, 0, 0.0, 0.0, [], payload)
    assert codec.decode(same, key="mine") == "a"
    for forged in (
        _engine.make_entry(*header, 21, 0, 0.0, 0.0, [], payload),
        _engine.make_entry(*header, 20, 15, 0.0, 0.0, [], payload),
        _engine.make_entry(*header, 20, 0, 0.1, 0.0, [], payload),
        _engine.make_entry(*header, 20, 0, 0.0, 0.0, [("0" * 32, 1)], payload),
    ):
        assert codec.head(forged)
        assert kind(codec, forged, key="mine") == "key"


def test_every_changed_bit_of_an_encrypted_payload_is_a_miss() -> None:
    codec = Codec(keyring=Keyring(KEYS))
    data = entry(codec, "a")
    payload = _engine.payload_of(codec.head(data))
    for at in range(len(payload)):
        for bit in range(8):
            bad = bytearray(payload)
            bad[at] ^= 1 << bit
            assert kind(codec, sealed(bytes(bad), 2, flags=2)) == "key"
    for size in (0, 7, 8, 20, 35, len(payload) - 1):
        assert kind(codec, sealed(payload[:size], 2, flags=2)) == "key"


def test_with_a_keyring_what_is_not_encrypted_is_not_read() -> None:
    plain, locked = Codec(), Codec(keyring=Keyring(KEYS))
    assert kind(locked, entry(plain, 1)) == "key"
    assert kind(plain, entry(locked, 1)) == "key"


@pytest.mark.parametrize("size", [16, 24, 32])
def test_a_key_may_be_bytes_or_base64_of_either_alphabet(size: int) -> None:
    key = os.urandom(size)
    data = entry(Codec(keyring=Keyring([key])), "a")
    for text in (
        base64.b64encode(key).decode(),
        base64.urlsafe_b64encode(key).decode(),
        base64.b64encode(key).decode().rstrip("=") + "\n",
    ):
        assert Codec(keyring=Keyring([text])).decode(data, key="k") == "a"


SECRET = "c2VjcmV0c2VjcmV0c2VjcmV0"  # base64 of 18 bytes: too few and too many


@pytest.mark.parametrize(
    "keys",
    [[], [b"short"], [SECRET], ["not base64!" + SECRET], [KEYS[0], KEYS[0]], [bytes(33)]],
)
def test_a_keyring_of_no_use_is_an_error_that_shows_no_key(keys: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Keyring(keys)
    assert "secret" not in str(caught.value)
    assert SECRET not in str(caught.value)
    assert repr(KEYS[0]) not in str(caught.value)


@pytest.mark.parametrize("keys", [KEYS[0], SECRET, [None], [5]])
def test_keys_of_a_wrong_type_are_an_error(keys: Any) -> None:
    with pytest.raises(OptionTypeError):
        Keyring(keys)


def test_no_repr_shows_a_secret_and_nothing_pickles_one() -> None:
    for holder in (
        keyring := Keyring(KEYS),
        signer := Signer(KEYS),
        Codec(keyring=keyring),
        Codec(codec="pickle", secret=KEYS[0]),
    ):
        text = repr(holder) + str(holder)
        assert all(repr(key)[2:10] not in text and key.hex()[:8] not in text for key in KEYS)
    assert repr(keyring) == "<Keyring of 3 keys>"
    for secret in (keyring, signer):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(secret)


def test_encryption_without_cryptography_names_the_extra(without: Any) -> None:
    without("cryptography")
    with pytest.raises(MissingExtraError, match=r"millpond\[encryption\]"):
        Keyring(KEYS)


# ---- pickle


class Local:
    """Only pickle takes it."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Local) and other.number == self.number

    __hash__ = None  # type: ignore[assignment]


class Bomb:
    """Tells when it is unpickled."""

    went_off = 0

    def __reduce__(self) -> Any:
        return _go_off, ()


def _go_off() -> None:
    Bomb.went_off += 1


def test_a_signed_pickle_comes_back() -> None:
    for more in ({}, {"keyring": Keyring(KEYS)}):
        codec = Codec(codec="pickle", secret=KEYS[0], **more)
        for value in (Local(5), [Local(i) for i in range(500)], TEXT):
            data = entry(codec, value)
            assert codec.head(data).codec == "pickle"
            assert codec.decode(data, key="k") == value


def test_secrets_are_changed_one_by_one() -> None:
    old = Codec(codec="pickle", secret=KEYS[0])
    both = Codec(codec="pickle", secret=[KEYS[1], KEYS[0]])
    new = Codec(codec="pickle", secret=base64.b64encode(KEYS[1]).decode())
    assert both.decode(entry(old, Local(1)), key="k") == Local(1)
    assert new.decode(entry(both, Local(2)), key="k") == Local(2)
    assert kind(new, entry(old, 1)) == "key"


def test_no_pickle_is_loaded_before_its_signature_fits() -> None:
    codec = Codec(codec="pickle", secret=KEYS[0])
    data = entry(codec, Bomb())
    payload = _engine.payload_of(codec.head(data))
    size = len(payload) - 32
    for bad in (
        payload[32:],
        bytes(32) + payload[32:],
        payload[:31],
        b"",
        payload[:-1] + b"!",
        *(
            bytes([byte ^ 1 if i == at else byte for i, byte in enumerate(payload)])
            for at in (0, 40)
        ),
    ):
        assert kind(codec, sealed(bad, size, flags=0, codec=3)) == "key"
    assert kind(codec, data, key="another") == "key"
    later = _engine.make_entry(3, 0, size, 0, 10, 21, 0, 0.0, 0.0, [], payload)
    assert kind(codec, later) == "key"
    assert kind(Codec(codec="pickle", secret=KEYS[1]), data) == "key"
    # And never by a codec that was not asked to.
    assert kind(Codec(), data) == "schema"
    assert kind(Codec(keyring=Keyring(KEYS)), data) == "key"
    assert Bomb.went_off == 0
    codec.decode(data, key="k")
    assert Bomb.went_off == 1


def test_a_pickle_codec_reads_only_what_is_signed() -> None:
    assert kind(Codec(codec="pickle", secret=KEYS[0]), entry(Codec(), 1)) == "schema"


def test_what_pickle_refuses_is_unencodable() -> None:
    codec = Codec(codec="pickle", secret=KEYS[0], max_value_bytes=1000)

    def reason(value: Any) -> str:
        with pytest.raises(Unencodable) as caught:
            entry(codec, value)
        return caught.value.reason

    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert reason(lambda: None) == "type"
    assert reason(deep) == "depth"
    assert reason(bytes(1000)) == "oversized"
    while deep:
        deep = deep[0]


def test_a_class_that_is_gone_is_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Codec(codec="pickle", secret=KEYS[0])
    data = entry(codec, Local(1))
    monkeypatch.delattr(f"{__name__}.Local")
    assert kind(codec, data) == "type"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"codec": "pickle"}, ConfigurationError),
        ({"secret": KEYS[0]}, ConfigurationError),
        ({"codec": "tagged", "secret": KEYS[0]}, ConfigurationError),
        ({"codec": "pickle", "secret": b"short"}, ConfigurationError),
        ({"codec": "pickle", "secret": []}, ConfigurationError),
        ({"codec": "pickle", "secret": 5}, TypeError),
        ({"codec": "json"}, ConfigurationError),
        ({"max_value_bytes": 0}, ConfigurationError),
        ({"max_value_bytes": 2**30 + 1}, ConfigurationError),
        ({"max_value_bytes": "1MiB"}, OptionTypeError),
        ({"max_value_bytes": True}, OptionTypeError),
    ],
)
def test_options_outside_what_is_allowed(options: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        Codec(**options)
    assert "short" not in str(caught.value)


def test_importing_and_making_a_codec_imports_none_of_the_libraries() -> None:
    code = (
        "import sys; from millpond.io.codecs import Codec; c = Codec();"
        "d = c.encode('a', key='k', stored_us=1, expires_us=2); c.decode(d, key='k');"
        "print(*sorted({'msgspec','zstandard','cryptography','pickle','numpy','pydantic'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""
