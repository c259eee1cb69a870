-- What lists of rooms are sorted by and searched for, besides what 0051 has.

-- Counts of room_summary, kept together with it. They change with every join: indexes on them over there would have
-- every join renew all indexes of that table.
CREATE TABLE room_sizes (
    room_nid BIGINT PRIMARY KEY,
    joined INTEGER NOT NULL,
    joined_local INTEGER NOT NULL,
    state_events INTEGER NOT NULL
);
INSERT INTO room_sizes SELECT room_nid, joined, joined_local, state_events FROM room_summary;
CREATE INDEX room_sizes_joined ON room_sizes (joined, room_nid);
CREATE INDEX room_sizes_joined_local ON room_sizes (joined_local, room_nid);
CREATE INDEX room_sizes_state_events ON room_sizes (state_events, room_nid);

CREATE INDEX room_summary_short_parts ON room_summary
    USING gin (short_parts(coalesce(name, '') || E'\n' || coalesce(split_part(substr(canonical_alias, 2), ':', 1), '')));
