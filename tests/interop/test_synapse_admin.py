"""Administrators' requests about rooms, media, reports and the server have the answers of Synapse."""

from tests.interop.admin_requests import ask_each, ask_without_right, furnish
from tests.interop.alike import Caller, differences
from tests.interop.synapse import Synapse
from tests.processes.harness import Server

ROOMS = """
GET v1/rooms?limit=-1
GET v1/rooms?limit=x
GET v1/rooms?from=-1
GET v1/rooms?from=x
GET v1/rooms?order_by=x
GET v1/rooms?dir=x
GET v1/rooms?search_term=
GET v1/rooms?search_term=nothingfound
GET v1/rooms?search_term=nothingfound&from=5
GET v1/rooms?public_rooms=x
GET v1/rooms?empty_rooms=x
GET v1/rooms?search_term={den}
GET v1/rooms/{den}
GET v1/rooms/den
GET v1/rooms/!x:{server}
GET v1/rooms/!x:elsewhere.test
GET v1/rooms/!x:elsewhere.test/members
GET v1/rooms/x/members
GET v1/rooms/{den}/members
GET v1/rooms/!x:elsewhere.test/state
GET v1/rooms/x/state
GET v1/rooms/{den}/state?type=m.room.member
GET v1/rooms/{den}/state?type=x
GET v1/rooms/{den}/state
GET v1/rooms/x/messages
GET v1/rooms/!x:elsewhere.test/messages
GET v1/rooms/{den}/messages?dir=x
GET v1/rooms/{den}/messages?limit=-1
GET v1/rooms/{den}/messages?limit=x
GET v1/rooms/{den}/messages?from=x
GET v1/rooms/{den}/messages?to=x
GET v1/rooms/{den}/messages?filter=x
GET v1/rooms/{den}/messages?filter=[]
GET v1/rooms/{den}/messages
GET v1/rooms/{den}/messages?dir=b&limit=2
GET v1/rooms/{den}/context/$x
GET v1/rooms/!x:elsewhere.test/context/$x
GET v1/rooms/{den}/context/{hello}?limit=1
GET v1/rooms/{den}/context/{hello}?limit=-1
GET v1/rooms/{den}/context/{hello}?filter=x
GET v1/rooms/{den}/timestamp_to_event
GET v1/rooms/{den}/timestamp_to_event?ts=x
GET v1/rooms/{den}/timestamp_to_event?ts=-1
GET v1/rooms/{den}/timestamp_to_event?ts=0
GET v1/rooms/{den}/timestamp_to_event?ts=0&dir=b
GET v1/rooms/{den}/timestamp_to_event?ts=0&dir=x
GET v1/rooms/!x:elsewhere.test/timestamp_to_event?ts=0
GET v1/rooms/{den}/hierarchy
GET v1/rooms/{den}/hierarchy?limit=-1
GET v1/rooms/{den}/hierarchy?limit=x
GET v1/rooms/{den}/hierarchy?from=x
GET v1/rooms/{den}/hierarchy?max_depth=x
GET v1/rooms/!x:elsewhere.test/hierarchy
GET v1/rooms/{den}/block
GET v1/rooms/x/block
GET v1/rooms/!x:elsewhere.test/block
PUT v1/rooms/{den}/block
PUT v1/rooms/{den}/block {}
PUT v1/rooms/{den}/block {"block": 5}
PUT v1/rooms/{den}/block {"block": "true"}
PUT v1/rooms/x/block {"block": true}
PUT v1/rooms/!x:elsewhere.test/block {"block": true}
GET v1/rooms/!x:elsewhere.test/block?again
PUT v1/rooms/!x:elsewhere.test/block?again {"block": true}
PUT v1/rooms/!x:elsewhere.test/block {"block": false}
POST v1/join/{den}
POST v1/join/{den} {}
POST v1/join/{den} {"user_id": 5}
POST v1/join/{den} {"user_id": "x"}
POST v1/join/{den} {"user_id": "@nobody:{server}"}
POST v1/join/x {"user_id": "{bob}"}
POST v1/join/{den} {"user_id": "{bob}"}
POST v1/join/!x:{server} {"user_id": "{bob}"}
POST v1/join/%23none:{server} {"user_id": "{bob}"}
POST v1/rooms/{den}/make_room_admin {"user_id": 5}
POST v1/rooms/{den}/make_room_admin {"user_id": "x"}
POST v1/rooms/{den}/make_room_admin {"user_id": "{bob}"}
POST v1/rooms/{den}/make_room_admin
GET v1/rooms/{den}/forward_extremities
GET v1/rooms/x/forward_extremities
GET v1/rooms/!x:elsewhere.test/forward_extremities
GET v1/rooms/%23none:{server}/forward_extremities
DELETE v1/rooms/{den}/forward_extremities
DELETE v1/rooms/x/forward_extremities
DELETE v1/rooms/%23none:{server}/forward_extremities
POST v1/purge_history/{den}
POST v1/purge_history/{den} {}
POST v1/purge_history/{den} {"purge_up_to_ts": "x"}
POST v1/purge_history/{den} {"purge_up_to_ts": true}
POST v1/purge_history/{den} {"purge_up_to_ts": 0}
POST v1/purge_history/{den} {"purge_up_to_event_id": "x"}
POST v1/purge_history/{den} {"purge_up_to_event_id": 5}
POST v1/purge_history/{den} {"purge_up_to_event_id": "$x"}
POST v1/purge_history/{den}/$x {}
POST v1/purge_history/x/{hello} {}
POST v1/purge_history/!x:elsewhere.test/{hello} {}
POST v1/purge_history/!x:elsewhere.test {}
POST v1/purge_history/!x:elsewhere.test {"purge_up_to_ts": 1}
POST v1/purge_history/{den} {"delete_local_events": "x", "purge_up_to_event_id": "$x"}
GET v1/purge_history_status/x
DELETE v1/rooms/x {}
DELETE v1/rooms/{den} {"block": 5}
DELETE v1/rooms/{den} {"purge": 5}
DELETE v1/rooms/{den} {"force_purge": 5}
DELETE v1/rooms/{den} {"new_room_user_id": 5}
DELETE v1/rooms/{den} {"new_room_user_id": "x"}
DELETE v1/rooms/{den} {"message": 5}
DELETE v1/rooms/!x:elsewhere.test {}
DELETE v2/rooms/x {}
DELETE v2/rooms/{den} nojson
DELETE v2/rooms/{den} []
DELETE v2/rooms/{den} {"block": 5}
DELETE v2/rooms/{den} {"purge": "x"}
GET v2/rooms/x/delete_status
GET v2/rooms/!x:elsewhere.test/delete_status
GET v2/rooms/!y:elsewhere.test/delete_status
GET v2/rooms/delete_status/x
"""

OTHERS = """
GET v1/media/{server}/nothing
GET v1/media/elsewhere.test/nothing
DELETE v1/media/{server}/nothing
DELETE v1/media/elsewhere.test/nothing
POST v1/media/delete
POST v1/media/delete?before_ts=x
POST v1/media/delete?before_ts=-1
POST v1/media/delete?before_ts=5
POST v1/media/delete?before_ts=40000000000&size_gt=-1
POST v1/media/delete?before_ts=40000000000&size_gt=x
POST v1/media/delete?before_ts=40000000000&keep_profiles=x
POST v1/media/delete?before_ts=40000000000
POST v1/media/elsewhere.test/delete?before_ts=40000000000
POST v1/media/{server}/delete?before_ts=40000000000
GET v1/room/{den}/media
GET v1/room/x/media
GET v1/room/!x:elsewhere.test/media
POST v1/purge_media_cache
POST v1/purge_media_cache?before_ts=x
POST v1/purge_media_cache?before_ts=-1
POST v1/purge_media_cache?before_ts=5
POST v1/purge_media_cache?before_ts=40000000000
POST v1/room/{den}/media/quarantine
POST v1/room/!x:elsewhere.test/media/quarantine
POST v1/room/x/media/quarantine
POST v1/quarantine_media/{den}
POST v1/user/{bob}/media/quarantine
POST v1/user/bob/media/quarantine
POST v1/user/@nobody:{server}/media/quarantine
POST v1/user/@nobody:elsewhere.test/media/quarantine
POST v1/media/quarantine/{server}/nothing
POST v1/media/quarantine/elsewhere.test/nothing
POST v1/media/unquarantine/{server}/nothing
POST v1/media/protect/nothing
POST v1/media/unprotect/nothing
GET v1/media/quarantine_changes?from=x
GET v1/media/quarantine_changes?from=-1
GET v1/media/quarantine_changes?from=999999
GET v1/event_reports?limit=-1
GET v1/event_reports?limit=x
GET v1/event_reports?from=-1
GET v1/event_reports?dir=x
GET v1/event_reports?user_id=x
GET v1/event_reports?room_id={den}
GET v1/event_reports?event_sender_user_id=x
GET v1/event_reports?event_sender_user_id=@nobody:elsewhere.test
GET v1/event_reports/x
GET v1/event_reports/-1
GET v1/event_reports/999999
DELETE v1/event_reports/x
DELETE v1/event_reports/999999
POST /_matrix/client/v3/rooms/{den}/report/{hello} {"reason": "bad", "score": -100}
GET v1/event_reports?room_id={den}?again
GET v1/user_reports?limit=-1
GET v1/user_reports?from=x
GET v1/user_reports?dir=x
GET v1/user_reports?user_id=x
GET v1/user_reports?target_user_id=x
GET v1/user_reports/x
GET v1/user_reports/-1
GET v1/user_reports/999999
DELETE v1/user_reports/x
DELETE v1/user_reports/999999
GET v1/fetch_event/$x
GET v1/fetch_event/x
GET v1/statistics/users/media?limit=-1
GET v1/statistics/users/media?from=-1
GET v1/statistics/users/media?order_by=x
GET v1/statistics/users/media?dir=x
GET v1/statistics/users/media?from_ts=-1
GET v1/statistics/users/media?from_ts=x
GET v1/statistics/users/media?until_ts=x
GET v1/statistics/users/media?from_ts=6&until_ts=5
GET v1/statistics/users/media?search_term=
GET v1/statistics/users/media?search_term=nothingfound
GET v1/federation/destinations?limit=-1
GET v1/federation/destinations?from=x
GET v1/federation/destinations?order_by=x
GET v1/federation/destinations?dir=x
GET v1/federation/destinations?destination=nothing
GET v1/federation/destinations
GET v1/federation/destinations/nothing
GET v1/federation/destinations/nothing/rooms
GET v1/federation/destinations/nothing/rooms?limit=-1
POST v1/federation/destinations/nothing/reset_connection
POST v1/federation/destinations/nothing/reset_connection {}
GET v1/registration_tokens?valid=x
POST v1/registration_tokens/new
POST v1/registration_tokens/new []
POST v1/registration_tokens/new {"token": 5}
POST v1/registration_tokens/new {"token": ""}
POST v1/registration_tokens/new {"token": "a b"}
POST v1/registration_tokens/new {"token": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}
POST v1/registration_tokens/new {"length": 0}
POST v1/registration_tokens/new {"length": 65}
POST v1/registration_tokens/new {"length": "5"}
POST v1/registration_tokens/new {"length": null}
POST v1/registration_tokens/new {"length": true}
POST v1/registration_tokens/new {"uses_allowed": -1}
POST v1/registration_tokens/new {"uses_allowed": "1"}
POST v1/registration_tokens/new {"uses_allowed": 1.5}
POST v1/registration_tokens/new {"uses_allowed": true}
POST v1/registration_tokens/new {"expiry_time": 5}
POST v1/registration_tokens/new {"expiry_time": "x"}
POST v1/registration_tokens/new {"token": "tee", "uses_allowed": 3, "expiry_time": 4102441200000}
POST v1/registration_tokens/new {"token": "tee"}
GET v1/registration_tokens/tee
GET v1/registration_tokens/none
GET v1/registration_tokens/a%20b
PUT v1/registration_tokens/tee
PUT v1/registration_tokens/tee {}
PUT v1/registration_tokens/tee {"uses_allowed": null}
PUT v1/registration_tokens/tee {"uses_allowed": -1}
PUT v1/registration_tokens/tee {"uses_allowed": "x"}
PUT v1/registration_tokens/tee {"expiry_time": 5}
PUT v1/registration_tokens/tee {"expiry_time": null}
PUT v1/registration_tokens/tee {"token": "other"}
PUT v1/registration_tokens/none {"uses_allowed": 1}
PUT v1/registration_tokens/none {}
DELETE v1/registration_tokens/none
DELETE v1/registration_tokens/tee
POST v1/send_server_notice {}
POST v1/send_server_notice {"user_id": "{bob}"}
POST v1/send_server_notice {"user_id": "{bob}", "content": {"msgtype": "m.text", "body": "x"}}
POST v1/send_server_notice {"user_id": "x", "content": {}}
POST v1/send_server_notice {"user_id": "@nobody:elsewhere.test", "content": {}}
PUT v1/send_server_notice/t {"user_id": "{bob}", "content": {}}
GET v1/server_version
GET v1/scheduled_tasks?status=x
GET v1/scheduled_tasks?action_name=nothing
GET v1/scheduled_tasks?max_timestamp=x
GET v1/scheduled_tasks?max_timestamp=-1
GET v1/background_updates/enabled
POST v1/background_updates/enabled {"enabled": 5}
POST v1/background_updates/enabled {}
POST v1/background_updates/enabled
POST v1/background_updates/start_job
POST v1/background_updates/start_job {}
POST v1/background_updates/start_job {"job_name": "x"}
POST v1/background_updates/start_job {"job_name": 5}
POST v1/purge_room {}
POST v1/shutdown_room/{den} {}
GET v1/users/{bob}
GET v1/nothing
POST v1/rooms/{den}/members
PATCH v1/rooms
OPTIONS v1/rooms
GET v1/whois
"""

ROOMS_ALLOWED = {
    "GET v1/rooms/x/messages": "404 for a room that there is not",
    "GET v1/rooms/!x:elsewhere.test/": "404 for a room that there is not",
    "GET v1/rooms/{den}/messages?filter=[]": "refused, since it is no object",
    "GET v1/rooms/{den}/messages: .end": "there is no more",
    'POST v1/join/{den} {"user_id": "{bob}"}': "who is there already needs no invite",
    "GET v1/rooms/{den}/forward_extremities: .results[0].state_group": "numbers of each server's own",
    "POST v1/purge_history/*purge_up_to_ts": "the caller surely sent seconds",
    'DELETE v1/rooms/{den} {"message": 5}': "refused, since it is no text",
    "GET v2/rooms/!x:elsewhere.test/delete_status": "DELETE of version 1 is a task, too",
}
OTHERS_ALLOWED = {
    "GET v1/room/x/media": "refused, since it is no room id",
    "POST v1/room/x/media/quarantine": "refused, since it is no room id",
    "POST v1/user/bob/media/quarantine": "refused, since it is no user id",
    "POST v1/user/@nobody:elsewhere.test/media/quarantine": "refused: only local users have files here",
    "GET v1/federation/destinations/nothing/rooms?limit=-1": "the query is looked at first",
    'POST v1/registration_tokens/new {"length": null}': "as if it were not there",
    "GET v1/server_version": "it names both versions",
}
WITHOUT_RIGHT = {"GET v1/server_version by ": "it names both versions"}


def rooms(caller: Caller) -> None:
    furnish(caller)
    ask_each(caller, ROOMS)


def others(caller: Caller) -> None:
    furnish(caller)
    ask_each(caller, OTHERS)


def without_right(caller: Caller) -> None:
    furnish(caller)
    ask_without_right(caller, f"{ROOMS.strip()}\n{OTHERS.strip()}")


def test_rooms(synapse: Synapse, server: Server) -> None:
    """Looking at rooms, and taking them in hand."""
    wrong = differences(rooms, synapse, server, ROOMS_ALLOWED)
    assert not wrong, "\n".join(wrong)


def test_others(synapse: Synapse, server: Server) -> None:
    """Media, reports, statistics, tokens, notices, tasks."""
    wrong = differences(others, synapse, server, OTHERS_ALLOWED)
    assert not wrong, "\n".join(wrong)


def test_only_administrators(synapse: Synapse, server: Server) -> None:
    """Others are refused as there."""
    wrong = differences(without_right, synapse, server, WITHOUT_RIGHT)
    assert not wrong, "\n".join(wrong)
