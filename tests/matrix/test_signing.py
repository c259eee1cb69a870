import pytest
import signedjson.key
import signedjson.sign
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey as Ed25519Key

from synapse_lite.errors import ConfigError
from synapse_lite.matrix.signing import (
    SignatureError,
    SigningKey,
    decode_base64,
    encode_base64,
    encode_base64_url,
    generate_signing_key,
    read_signing_key,
    read_verify_key,
    verify_signed_json,
    write_signing_key,
)
from tests.matrix.test_canonical import TEXTS, VALUES

SEED = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1"
DOMAIN_KEY = SigningKey("domain", "1", Ed25519Key(decode_base64(SEED)))
ONE_TWO_SIGNATURE = "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw"


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"", ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (b"foob", "Zm9vYg"), (b"fooba", "Zm9vYmE")],
)
def test_base64_of_the_specification(data: bytes, text: str) -> None:
    """Base64 is written without padding and read with or without it."""
    assert encode_base64(data) == text
    assert decode_base64(text) == data
    assert decode_base64(text + "=" * (-len(text) % 4)) == data


@settings(deadline=None)
@given(st.binary(max_size=70))
def test_base64_is_read_in_both_alphabets(data: bytes) -> None:
    """The URL-safe alphabet is read like the standard one."""
    assert decode_base64(encode_base64(data)) == data
    assert decode_base64(encode_base64_url(data)) == data


@pytest.mark.parametrize("text", ["Zg!", "Z", "é"])
def test_what_is_no_base64_is_refused(text: str) -> None:
    """Stray characters and impossible lengths raise ValueError."""
    with pytest.raises(ValueError):
        decode_base64(text)


@pytest.mark.parametrize(
    ("obj", "signature"),
    [
        ({}, "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"),
        ({"one": 1, "two": "Two"}, ONE_TWO_SIGNATURE),
        ({"two": "Two", "unsigned": {"age": 1}, "signatures": {"x": {}}, "one": 1}, ONE_TWO_SIGNATURE),
    ],
)
def test_json_signing_vectors(obj: dict[str, object], signature: str) -> None:
    """The signatures of the appendix; `unsigned` and `signatures` are not covered."""
    assert DOMAIN_KEY.key_id == "ed25519:1"
    assert DOMAIN_KEY.sign(obj) == signature
    signed = obj | {"signatures": {"domain": {"ed25519:1": signature}}}
    verify_signed_json(signed, "domain", "ed25519:1", DOMAIN_KEY.verify_key)


@settings(deadline=None)
@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_same_signature_as_signedjson(obj: dict[str, object]) -> None:
    """Signatures are those of the reference library, and each verifies the other's."""
    obj.pop("signatures", None)
    reference_key = signedjson.key.decode_signing_key_base64("ed25519", "1", SEED)
    signed = signedjson.sign.sign_json(dict(obj), "domain", reference_key)
    assert DOMAIN_KEY.sign(obj) == signed["signatures"]["domain"]["ed25519:1"]
    verify_signed_json(signed, "domain", "ed25519:1", DOMAIN_KEY.verify_key)


@pytest.mark.parametrize(
    "signatures",
    [
        None,
        [],
        {},
        {"domain": {}},
        {"domain": None},
        {"domain": {"ed25519:1": 5}},
        {"domain": {"ed25519:1": "!"}},
        {"domain": {"ed25519:1": "Zm9v"}},
        {"other": {"ed25519:1": ONE_TWO_SIGNATURE}},
        {"domain": {"ed25519:1": "A" * 86}},
    ],
)
def test_missing_and_wrong_signatures(signatures: object) -> None:
    """Whatever is not a good signature of that server and key is refused."""
    obj = {"one": 1, "two": "Two", "signatures": signatures}
    with pytest.raises(SignatureError) as caught:
        verify_signed_json(obj, "domain", "ed25519:1", DOMAIN_KEY.verify_key)
    assert (caught.value.status, caught.value.errcode) == (403, "M_FORBIDDEN")


def test_changed_object_is_refused() -> None:
    """A signature covers the whole object."""
    obj = {"one": 2, "two": "Two", "signatures": {"domain": {"ed25519:1": ONE_TWO_SIGNATURE}}}
    with pytest.raises(SignatureError):
        verify_signed_json(obj, "domain", "ed25519:1", DOMAIN_KEY.verify_key)


def test_key_file_round_trip() -> None:
    """A written key reads back; signedjson reads the same file."""
    key = generate_signing_key("a.example")
    text = write_signing_key(key)
    assert read_signing_key(text, "a.example").sign({}) == key.sign({})
    (reference,) = signedjson.key.read_signing_keys([text])
    assert f"ed25519:{reference.version}" == key.key_id
    assert bytes(reference) == bytes(key.key)


def test_first_key_of_the_file_is_taken() -> None:
    """Blank lines are skipped and further keys are left alone."""
    text = f"\ned25519 a_AbCd {SEED}\n{write_signing_key(generate_signing_key('x'))}"
    key = read_signing_key(text, "domain")
    assert key.key_id == "ed25519:a_AbCd"
    assert key.sign({"one": 1, "two": "Two"}) == ONE_TWO_SIGNATURE


@pytest.mark.parametrize(
    "text", ["", "ed25519 a_AbCd", f"rsa a_AbCd {SEED}", f"ed25519 a:b {SEED}", "ed25519 a_AbCd Zm9v"]
)
def test_broken_key_file(text: str) -> None:
    """A key file that cannot be used is a mistake of the configuration."""
    with pytest.raises(ConfigError):
        read_signing_key(text, "domain")


def test_keys_are_random_and_hidden() -> None:
    """Two generated keys differ, and the secret does not show in logs."""
    key = generate_signing_key("a.example")
    assert bytes(key.key) != bytes(generate_signing_key("a.example").key)
    assert "key=" not in repr(key)


def test_public_key_reads_back() -> None:
    """The public key in base64 is the one that verifies; others are refused."""
    text = encode_base64(bytes(DOMAIN_KEY.verify_key))
    assert read_verify_key(text) == DOMAIN_KEY.verify_key
    with pytest.raises(ValueError):
        read_verify_key("Zm9v")
