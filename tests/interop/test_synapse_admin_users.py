"""Administrators' requests about users, good, odd and wrong, have the answers of Synapse."""

from tests.interop.admin_requests import ask_each, ask_without_right, furnish
from tests.interop.alike import Caller, differences
from tests.interop.synapse import Synapse
from tests.processes.harness import Server

USERS = """
GET v2/users?user_id=nobodyhere
GET v2/users?limit=-1
GET v2/users?limit=x
GET v2/users?from=-1
GET v2/users?from=x
GET v2/users?order_by=x
GET v2/users?dir=x
GET v2/users?guests=x
GET v2/users?deactivated=x
GET v2/users?locked=x
GET v2/users?admins=x
GET v2/users?not_user_type=bot&user_id=nobodyhere
GET v2/users?user_id={alice-here}&guests=false
GET v2/users?user_id={alice-here}&limit=1&from=5
GET v2/users?name=x&user_id={alice-here}
GET v3/users?deactivated=x
GET v3/users?deactivated=true&user_id={alice-here}
GET v3/users?deactivated=false&user_id={alice-here}&order_by=creation_ts
GET v2/users/alice
GET v2/users/@nobody:{server}
GET v2/users/@nobody:elsewhere.test
GET v2/users/@:{server}
GET v2/users/{alice}
PUT v2/users/{bob} []
PUT v2/users/{bob} nojson
PUT v2/users/{bob}
PUT v2/users/bob {}
PUT v2/users/@x:elsewhere.test {}
PUT v2/users/{bob} {}
PUT v2/users/{bob} {"password": 5}
PUT v2/users/{bob} {"displayname": 5}
PUT v2/users/{bob} {"displayname": ""}
PUT v2/users/{bob} {"displayname": null}
PUT v2/users/{bob} {"avatar_url": 5}
PUT v2/users/{bob} {"avatar_url": "x"}
PUT v2/users/{bob} {"avatar_url": ""}
PUT v2/users/{bob} {"threepids": 5}
PUT v2/users/{bob} {"threepids": [5]}
PUT v2/users/{bob} {"threepids": [{}]}
PUT v2/users/{bob} {"threepids": [{"medium": "email"}]}
PUT v2/users/{bob} {"threepids": [{"medium": "x", "address": "y"}]}
PUT v2/users/{bob} {"threepids": [{"medium": "email", "address": "BOB@Example.org"}]}
PUT v2/users/{bob} {"threepids": []}
PUT v2/users/{bob} {"external_ids": 5}
PUT v2/users/{bob} {"external_ids": [{}]}
PUT v2/users/{bob} {"external_ids": [{"auth_provider": "p"}]}
PUT v2/users/{bob} {"external_ids": [{"auth_provider": "p", "external_id": "x"}]}
PUT v2/users/{bob} {"external_ids": []}
PUT v2/users/{bob} {"admin": 5}
PUT v2/users/{bob} {"admin": null}
PUT v2/users/{root} {"admin": false}
PUT v2/users/{bob} {"deactivated": 5}
PUT v2/users/{bob} {"deactivated": null}
PUT v2/users/{bob} {"deactivated": false}
PUT v2/users/{bob} {"deactivated": true, "locked": true}
PUT v2/users/{bob} {"locked": 5}
PUT v2/users/{bob} {"locked": true}
PUT v2/users/{bob} {"locked": false}
PUT v2/users/{bob} {"suspended": 5}
PUT v2/users/{bob} {"user_type": "x"}
PUT v2/users/{bob} {"user_type": 5}
PUT v2/users/{bob} {"user_type": "bot"}
PUT v2/users/{bob} {"user_type": null}
PUT v2/users/{bob} {"approved": 5}
PUT v2/users/@{new-here}:{server} {"password": "x", "displayname": 5}
PUT v2/users/@NEW-{new-here}:{server} {"password": "x"}
PUT v2/users/@{new-here}:{server} {"password": "x"}
PUT v2/users/@{new2-here}:{server} {}
PUT v2/users/@{new3-here}:{server} {"admin": true, "user_type": "support", "displayname": "New"}
GET v2/users/@{new3-here}:{server}
PUT v2/users/@{new4-here}:{server} {"deactivated": true}
GET v1/whois/alice
GET v1/whois/@nobody:{server}
GET v1/whois/@nobody:elsewhere.test
GET /_matrix/client/v3/admin/whois/@nobody:elsewhere.test
POST v1/deactivate/alice {}
POST v1/deactivate/@nobody:{server} {}
POST v1/deactivate/@nobody:elsewhere.test {}
POST v1/deactivate/@{new2-here}:{server} {"erase": 5}
POST v1/deactivate/@{new2-here}:{server} nojson
POST v1/deactivate/@{new2-here}:{server} {}
POST v1/deactivate/@{new2-here}:{server}?again {"erase": false}
POST v1/deactivate/@{new4-here}:{server}
GET v2/users/@{new2-here}:{server}
PUT v2/users/@{new2-here}:{server} {"deactivated": false}
PUT v2/users/@{new2-here}:{server} {"deactivated": false, "password": "again"}
GET v2/users/@{new2-here}:{server}?again
PUT v1/suspend/{bob}
PUT v1/suspend/{bob} {}
PUT v1/suspend/{bob} {"suspend": "yes"}
PUT v1/suspend/{bob} {"suspend": 1}
PUT v1/suspend/{bob} {"suspend": null}
PUT v1/suspend/{bob} {"suspend": true}
PUT v1/suspend/{bob} {"suspend": false}
PUT v1/suspend/bob {"suspend": false}
PUT v1/suspend/@nobody:{server} {"suspend": false}
PUT v1/suspend/@nobody:elsewhere.test {"suspend": false}
POST v1/reset_password/{bob}
POST v1/reset_password/{bob} {}
POST v1/reset_password/{bob} {"new_password": 5}
POST v1/reset_password/{bob} {"new_password": "x", "logout_devices": false}
POST v1/reset_password/bob {"new_password": "x"}
POST v1/reset_password/@nobody:{server} {"new_password": "x"}
POST v1/reset_password/@nobody:elsewhere.test {"new_password": "x"}
GET v1/users/{bob}/admin
GET v1/users/@nobody:{server}/admin
GET v1/users/@nobody:elsewhere.test/admin
GET v1/users/bob/admin
PUT v1/users/{bob}/admin {}
PUT v1/users/{bob}/admin {"admin": 5}
PUT v1/users/{bob}/admin {"admin": "x"}
PUT v1/users/{bob}/admin {"admin": null}
PUT v1/users/{bob}/admin {"admin": false}
PUT v1/users/{root}/admin {"admin": false}
PUT v1/users/@nobody:{server}/admin {"admin": false}
PUT v1/users/@nobody:elsewhere.test/admin {"admin": true}
GET v1/users/{bob}/joined_rooms
GET v1/users/bob/joined_rooms
GET v1/users/@nobody:{server}/joined_rooms
GET v1/users/@nobody:elsewhere.test/joined_rooms
GET v1/users/{bob}/joined_rooms?limit=1
GET v1/users/{bob}/memberships
GET v1/users/bob/memberships
GET v1/users/@nobody:elsewhere.test/memberships
GET v1/users/{alice}/sent_invite_count
GET v1/users/{alice}/sent_invite_count?from_ts=x
GET v1/users/{alice}/sent_invite_count?from_ts=-1
GET v1/users/{alice}/sent_invite_count?from_ts=0
GET v1/users/@nobody:elsewhere.test/sent_invite_count?from_ts=0
GET v1/users/bob/sent_invite_count?from_ts=0
GET v1/users/{alice}/cumulative_joined_room_count
GET v1/users/{alice}/cumulative_joined_room_count?from_ts=x
GET v1/users/{alice}/cumulative_joined_room_count?from_ts=0
GET v1/users/@nobody:elsewhere.test/cumulative_joined_room_count?from_ts=0
GET v1/users/{bob}/accountdata
GET v1/users/bob/accountdata
GET v1/users/@nobody:{server}/accountdata
GET v1/users/@nobody:elsewhere.test/accountdata
GET v1/users/{bob}/pushers
GET v1/users/bob/pushers
GET v1/users/@nobody:{server}/pushers
GET v1/users/@nobody:elsewhere.test/pushers
POST v1/users/{root}/login {}
POST v1/users/@nobody:{server}/login {}
POST v1/users/@nobody:elsewhere.test/login {}
POST v1/users/bob/login {}
POST v1/users/{bob}/login {"valid_until_ms": "x"}
POST v1/users/{bob}/login {"valid_until_ms": 5}
POST v1/users/{bob}/login {"valid_until_ms": null}
POST v1/users/{bob}/login []
POST v1/users/@nobody:{server}/shadow_ban
POST v1/users/@nobody:elsewhere.test/shadow_ban
DELETE v1/users/@nobody:elsewhere.test/shadow_ban
POST v1/users/bob/shadow_ban
POST v1/users/{bob}/shadow_ban
DELETE v1/users/{bob}/shadow_ban
GET v1/users/{bob}/override_ratelimit
GET v1/users/bob/override_ratelimit
GET v1/users/@nobody:{server}/override_ratelimit
GET v1/users/@nobody:elsewhere.test/override_ratelimit
POST v1/users/{bob}/override_ratelimit
POST v1/users/{bob}/override_ratelimit {}
POST v1/users/{bob}/override_ratelimit {"messages_per_second": "x"}
POST v1/users/{bob}/override_ratelimit {"messages_per_second": -1}
POST v1/users/{bob}/override_ratelimit {"burst_count": -1}
POST v1/users/{bob}/override_ratelimit {"burst_count": 1.5}
POST v1/users/{bob}/override_ratelimit {"burst_count": null}
POST v1/users/{bob}/override_ratelimit {"burst_count": 7}
GET v1/users/{bob}/override_ratelimit?again
DELETE v1/users/{bob}/override_ratelimit
DELETE v1/users/{bob}/override_ratelimit?again
DELETE v1/users/@nobody:{server}/override_ratelimit
POST v1/users/{bob}/_allow_cross_signing_replacement_without_uia
POST v1/users/{bob}/_allow_cross_signing_replacement_without_uia {}
POST v1/users/bob/_allow_cross_signing_replacement_without_uia {}
POST v1/users/@nobody:{server}/_allow_cross_signing_replacement_without_uia {}
POST v1/users/@nobody:elsewhere.test/_allow_cross_signing_replacement_without_uia {}
GET v1/auth_providers/p/users/x
GET v1/threepid/email/users/x
GET v1/threepid/foo/users/x
GET v1/search_users/{bob}
GET v1/search_users/{bob}?term=nobodyhere
GET v1/search_users/bob?term=x
GET v1/search_users/@nobody:{server}?term=nobodyhere
GET v1/search_users/@nobody:elsewhere.test?term=x
GET v1/username_available
GET v1/username_available?username=
GET v1/username_available?username={free-here}
GET v1/username_available?username=A%20B
GET v1/username_available?username={unique bob}
GET v1/username_available?username=_x
POST v1/user/{bob}/redact
POST v1/user/{bob}/redact {}
POST v1/user/{bob}/redact {"rooms": 5}
POST v1/user/{bob}/redact {"rooms": [5]}
POST v1/user/{bob}/redact {"rooms": [], "limit": "5"}
POST v1/user/{bob}/redact {"rooms": [], "limit": -1}
POST v1/user/{bob}/redact {"rooms": [], "reason": 5}
POST v1/user/bob/redact {"rooms": []}
GET v1/user/redact_status/x
POST v1/register {}
POST v1/register {"nonce": "x"}
POST v1/register {"nonce": "x", "username": "x", "password": "y", "mac": "z"}
POST v1/register {"nonce": 5, "username": "x", "password": "y", "mac": "z"}
POST v1/account_validity/validity {}
POST v1/account_validity/validity {"user_id": "{bob}"}
GET v1/experimental_features/{bob}
GET v1/experimental_features/bob
GET v1/experimental_features/@nobody:{server}
GET v1/experimental_features/@nobody:elsewhere.test
PUT v1/experimental_features/{bob} {}
PUT v1/experimental_features/{bob} {"features": 5}
PUT v1/experimental_features/{bob} {"features": {}}
PUT v1/experimental_features/{bob} {"features": {"msc3881": 5}}
PUT v1/experimental_features/{bob} {"features": {"msc3881": true}}
PUT v1/experimental_features/{bob} {"features": {"nothing": true}}
PUT v1/experimental_features/@nobody:elsewhere.test {"features": {"msc3881": true}}
GET v2/users/bob/devices
GET v2/users/@nobody:{server}/devices
GET v2/users/@nobody:elsewhere.test/devices
GET v2/users/{bob}/devices
POST v2/users/{bob}/devices
POST v2/users/{bob}/devices {}
POST v2/users/{bob}/devices {"device_id": 5}
POST v2/users/{bob}/devices {"device_id": ""}
POST v2/users/{bob}/devices {"device_id": "D"}
POST v2/users/{bob}/devices?again {"device_id": "D"}
POST v2/users/@nobody:{server}/devices {"device_id": "D"}
POST v2/users/@nobody:elsewhere.test/devices {"device_id": "D"}
GET v2/users/{bob}/devices/D
GET v2/users/{bob}/devices/E
GET v2/users/@nobody:{server}/devices/D
GET v2/users/@nobody:elsewhere.test/devices/D
PUT v2/users/{bob}/devices/D
PUT v2/users/{bob}/devices/D {}
PUT v2/users/{bob}/devices/D {"display_name": 5}
PUT v2/users/{bob}/devices/D {"display_name": null}
PUT v2/users/{bob}/devices/D {"display_name": "Dee"}
GET v2/users/{bob}/devices/D?again
PUT v2/users/{bob}/devices/D {"display_name": ""}
PUT v2/users/{bob}/devices/E {"display_name": "x"}
PUT v2/users/@nobody:{server}/devices/D {"display_name": "x"}
PUT v2/users/@nobody:elsewhere.test/devices/D {"display_name": "x"}
DELETE v2/users/{bob}/devices/E
DELETE v2/users/@nobody:{server}/devices/D
DELETE v2/users/@nobody:elsewhere.test/devices/D
POST v2/users/{bob}/delete_devices
POST v2/users/{bob}/delete_devices {}
POST v2/users/{bob}/delete_devices {"devices": 5}
POST v2/users/{bob}/delete_devices {"devices": [5]}
POST v2/users/{bob}/delete_devices {"devices": ["E", "D"]}
POST v2/users/@nobody:{server}/delete_devices {"devices": ["D"]}
POST v2/users/@nobody:elsewhere.test/delete_devices {"devices": ["D"]}
GET v1/users/{alice}/media?limit=-1
GET v1/users/{alice}/media?from=-1
GET v1/users/{alice}/media?from=x
GET v1/users/{alice}/media?order_by=x
GET v1/users/{alice}/media?dir=x
GET v1/users/alice/media
GET v1/users/{alice}/media
GET v1/users/@nobody:{server}/media
GET v1/users/@nobody:elsewhere.test/media
DELETE v1/users/{alice}/media?limit=-1
DELETE v1/users/{alice}/media
DELETE v1/users/@nobody:{server}/media
DELETE v1/users/@nobody:elsewhere.test/media
"""

ALLOWED = {
    'PUT v2/users/{bob} {"displayname": 5}': "M_BAD_JSON, as for every value of another type",
    'PUT v2/users/{bob} {"avatar_url": 5}': "M_BAD_JSON, as for every value of another type",
    'PUT v2/users/{bob} {"displayname": null}': "as if it were not there",
    'PUT v2/users/{bob} {"admin": null}': "as if it were not there",
    'PUT v2/users/{bob} {"threepids": [{"medium": "x"': "any medium is kept",
    'PUT v2/users/{bob} {"approved": 5}': "Synapse looks at it only where approval is required",
    'PUT v2/users/@{new-here}:{server} {"password": "x", "displayname": 5}': "refused, and nobody is made",
    'PUT v2/users/@{new-here}:{server} {"password": "x"}': "the one before was refused",
    'PUT v2/users/@{new4-here}:{server} {"deactivated": true}: .deactivated': "it is done",
    "GET v1/users/bob/": "refused, since it is no user id",
    "GET v1/experimental_features/*.msc3575": "sliding sync is on for everybody",
    'PUT v1/experimental_features/{bob} {"features": {"msc3881": 5}}': "refused, since it is no boolean",
    'POST v2/users/{bob}/delete_devices {"devices": [5]}': "refused, since it is no text",
}
WITHOUT_RIGHT = {
    "GET v1/whois/alice by ": "who asks is looked at before the user id",
}


def users(caller: Caller) -> None:
    furnish(caller)
    ask_each(caller, USERS)


def without_right(caller: Caller) -> None:
    furnish(caller)
    ask_without_right(caller, USERS)


def test_users(synapse: Synapse, server: Server) -> None:
    """What may be changed of a user, and how it is refused."""
    wrong = differences(users, synapse, server, ALLOWED)
    assert not wrong, "\n".join(wrong)


def test_only_administrators(synapse: Synapse, server: Server) -> None:
    """Others are refused as there."""
    wrong = differences(without_right, synapse, server, WITHOUT_RIGHT)
    assert not wrong, "\n".join(wrong)
