-- Rooms that application services list for their networks: `network` is "service id|network id".
CREATE TABLE room_networks (
    room_nid BIGINT NOT NULL,
    network TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (room_nid, network)
);
-- A room has a row in each list that shows it: '' is that of the published rooms, '*' that of rooms in networks which are not
-- published, a network's name its own.
ALTER TABLE room_directory ADD COLUMN list TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE room_directory ALTER COLUMN list DROP DEFAULT;
ALTER TABLE room_directory DROP CONSTRAINT room_directory_pkey;
ALTER TABLE room_directory ADD PRIMARY KEY (room_nid, list);
DROP INDEX room_directory_order;
CREATE INDEX room_directory_order ON room_directory (list, joined, room_nid) WHERE listed;
