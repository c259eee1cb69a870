-- The published rooms, in the order of the directory: kept together with room_summary. `listed`: one can enter the
-- room, knock at it or read it; `body` is what a search looks through, in lower case.
CREATE TABLE room_directory (
    room_nid BIGINT PRIMARY KEY,
    joined INTEGER NOT NULL,
    listed BOOLEAN NOT NULL,
    federates BOOLEAN NOT NULL,
    room_type TEXT,
    body TEXT COLLATE "C" NOT NULL
);
CREATE INDEX room_directory_order ON room_directory (joined, room_nid) WHERE listed;

INSERT INTO room_directory
SELECT s.room_nid, s.joined, s.joined > 0 AND coalesce(s.join_rule IN ('public', 'knock', 'knock_restricted')
        OR s.history_visibility = 'world_readable', FALSE),
    s.federates, s.room_type, lower(concat_ws(E'\n', s.name, s.topic, s.canonical_alias))
FROM rooms r JOIN room_summary s USING (room_nid) WHERE r.is_public AND NOT r.purging;
