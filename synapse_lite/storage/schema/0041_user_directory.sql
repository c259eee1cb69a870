-- Whom users can look for: those of this server, by their profiles, and those of others, as a room last showed them.
-- `tokens` as `matrix/words.py` makes them of the name and the localpart.
CREATE TABLE user_directory (
    user_id TEXT PRIMARY KEY,
    display_name TEXT,
    avatar_url TEXT,
    is_local BOOLEAN NOT NULL,
    body TEXT NOT NULL,
    tokens TSVECTOR NOT NULL
);
-- Written by a follower, for which nobody waits. Entries that were put off would be read by every search, and many of
-- them keep the planner from the index.
CREATE INDEX user_directory_tokens ON user_directory USING GIN (tokens) WITH (fastupdate = off);
