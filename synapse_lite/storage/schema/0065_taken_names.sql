-- Whether the names here of the room that this one replaces have come to it: they do so once.
ALTER TABLE room_summary ADD COLUMN took_names BOOLEAN NOT NULL DEFAULT FALSE;
