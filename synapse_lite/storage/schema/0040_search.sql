-- Text that can be searched for, as `matrix/words.py` normalises it. `tokens` has no positions: parts of words
-- that belong together are looked up in `body`. The room and the sender are tokens too (`#12`, `@who:where`), so
-- that one index answers for all of them.
CREATE TABLE event_search (
    event_nid BIGINT PRIMARY KEY,
    room_nid BIGINT NOT NULL,
    position BIGINT NOT NULL,      -- in the stream
    key TEXT NOT NULL,             -- where in the event it stands: content.body, .name or .topic
    body TEXT NOT NULL,
    tokens TSVECTOR NOT NULL
);
-- Written by a follower, for which nobody waits. Entries that were put off would be read by every search: 4 MB of them.
CREATE INDEX event_search_tokens ON event_search USING GIN (tokens) WITH (fastupdate = off);
CREATE INDEX event_search_room ON event_search (room_nid, event_nid);
