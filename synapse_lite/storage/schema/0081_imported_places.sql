-- Where events stood in the stream of another server, as tokens that it gave out name places there.
CREATE TABLE imported_places (
    room_nid BIGINT NOT NULL,
    ordering BIGINT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (room_nid, ordering)
);
