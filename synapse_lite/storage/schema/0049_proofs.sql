-- When the user last proved with this token who they are, besides their log-in (`ui_auth.session_timeout`).
ALTER TABLE access_tokens ADD COLUMN proved_ts BIGINT;
