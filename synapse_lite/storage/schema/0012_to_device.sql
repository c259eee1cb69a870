-- Messages to devices, until the device has said that it has them.

-- `position` is that of the stream. No foreign key: the inbox of
-- a device that is deleted goes in slices.
CREATE TABLE device_inbox (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    sender TEXT NOT NULL,
    type TEXT NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (user_id, device_id, position)
);

-- One row per request to send: a retry by the client sends nothing.
CREATE TABLE to_device_transactions (
    session TEXT NOT NULL,
    type TEXT NOT NULL,
    txn_id TEXT NOT NULL,
    created_ts BIGINT NOT NULL,
    PRIMARY KEY (session, type, txn_id)
);
CREATE INDEX to_device_transactions_created ON to_device_transactions (created_ts);
