-- What was handed to an application service last: the same again until it has it. `body` NULL: it has.
CREATE TABLE app_service_transactions (
    service_id TEXT PRIMARY KEY,
    delivery TEXT NOT NULL,        -- the key of the follower's step
    txn_id TEXT NOT NULL,
    body TEXT
);
