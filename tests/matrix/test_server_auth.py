"""The X-Matrix header in all its spellings, and what is signed."""

import pytest

from synapse_lite.errors import MatrixError
from synapse_lite.matrix.server_auth import (
    ServerAuthorization,
    parse_authorization,
    sign_request,
    signed_request,
)
from synapse_lite.matrix.signing import SignatureError, generate_signing_key, verify_signature

FOUND = ServerAuthorization("a.test:8448", "b.test", "ed25519:1", "c2ln")


@pytest.mark.parametrize(
    "header",
    [
        'X-Matrix origin="a.test:8448",destination="b.test",key="ed25519:1",sig="c2ln"',
        'x-matrix origin="a.test:8448",destination="b.test",key="ed25519:1",sig="c2ln"',
        "X-Matrix origin=a.test:8448,destination=b.test,key=ed25519:1,sig=c2ln",
        'X-Matrix  origin="a.test:8448" , destination="b.test" ,\tkey="ed25519:1" , sig="c2ln"',
        'X-Matrix sig="c2ln",key="ed25519:1",destination="b.test",origin="a.test:8448"',
        'X-Matrix Origin="a.test:8448",DESTINATION="b.test",Key="ed25519:1",Sig="c2ln"',
        r'X-Matrix origin="a\.test:8448",destination="b.test",key="ed25519\:1",sig="c2ln"',
        'X-Matrix origin = "a.test:8448",destination= "b.test",key ="ed25519:1",sig="c2ln"',
        'X-Matrix origin="a.test:8448",destination="b.test",key="ed25519:1",sig="c2ln",more="x,y"',
        'X-Matrix origin="a.test:8448",destination="b.test",key="ed25519:1",sig="c2ln" ',
    ],
)
def test_every_spelling_is_understood(header: str) -> None:
    """Blanks, quotes, order and case are as RFC 9110 allows them."""
    assert parse_authorization(header) == FOUND


@pytest.mark.parametrize(
    "header",
    [
        "",
        "X-Matrix",
        "Bearer secret",
        "X-Matrix origin",
        'X-Matrix origin="a.test",key="ed25519:1"',
        'X-Matrix origin="a.test",origin="b.test",key="ed25519:1",sig="x"',
        'X-Matrix origin="a.test,key="ed25519:1",sig="x"',
        'X-Matrix origin="a.test" key="ed25519:1" sig="x"',
        'X-Matrix origin="a/../b",key="ed25519:1",sig="x"',
        'X-Matrix origin="a.test",key="rsa:1",sig="x"',
        'X-Matrix origin="a.test",key="ed25519:1",sig="x"' + "," * 10_000,
        "X-Matrix " + '"' * 4000,
    ],
)
def test_what_is_no_authorization(header: str) -> None:
    """401 for it, however odd; and at once."""
    with pytest.raises(MatrixError) as refused:
        parse_authorization(header)
    assert (refused.value.status, refused.value.errcode) == (401, "M_UNAUTHORIZED")


def test_a_header_is_written_in_the_one_form_that_all_understand() -> None:
    """Quoted values, small names, no blanks; ports and IPv6 addresses too."""
    key = generate_signing_key("[::1]:8448")
    header = sign_request(key, "GET", "/x?y=%2F", "b.test:1")
    signature = key.sign_bytes(signed_request("GET", "/x?y=%2F", "[::1]:8448", "b.test:1", None))
    assert header == (
        f'X-Matrix origin="[::1]:8448",destination="b.test:1",key="{key.key_id}",sig="{signature}"'
    )


def test_the_signature_covers_everything() -> None:
    """Method, target, both servers and the content."""
    key = generate_signing_key("a.test")
    signed = ("PUT", "/x", "a.test", "b.test", b'{"n":1}')
    found = parse_authorization(sign_request(key, "PUT", "/x", "b.test", b'{"n":1}'))
    signatures = {found.origin: {found.key_id: found.signature}}
    verify_signature(signatures, signed_request(*signed), found.origin, found.key_id, key.verify_key)
    for index, other in enumerate(("GET", "/y", "c.test", "c.test", b'{"n":2}')):
        changed = (*signed[:index], other, *signed[index + 1 :])
        with pytest.raises(SignatureError):
            verify_signature(signatures, signed_request(*changed), found.origin, found.key_id, key.verify_key)
