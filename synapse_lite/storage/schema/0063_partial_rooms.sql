-- Rooms that this server entered without most of their members: these are filled in by a task, slice by slice.

CREATE TABLE partial_rooms (
    room_nid BIGINT PRIMARY KEY,
    join_nid BIGINT NOT NULL,      -- the event by which the server came in
    snapshot_nid BIGINT NOT NULL,  -- the state before it: the only snapshot that grows
    servers TEXT[] NOT NULL,       -- that were in the room then
    lacking BIGINT[],              -- state events that are known, but not filled in yet; NULL: nobody told what lacks
    judged_position BIGINT NOT NULL DEFAULT 0  -- up to here what came meanwhile is judged by the whole state
);
