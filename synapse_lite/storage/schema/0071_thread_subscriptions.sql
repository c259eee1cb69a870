-- Threads that users follow, or followed once (MSC4306).

CREATE TABLE thread_subscriptions (
    room_nid BIGINT NOT NULL REFERENCES rooms,
    user_id TEXT NOT NULL,
    root_id TEXT NOT NULL,
    subscribed BOOLEAN NOT NULL,
    automatic BOOLEAN NOT NULL,    -- not by the user's own choice
    position BIGINT NOT NULL,      -- of the last change, in the stream
    PRIMARY KEY (room_nid, user_id, root_id)
);
CREATE INDEX thread_subscriptions_user ON thread_subscriptions (user_id, position);
