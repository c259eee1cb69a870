-- Whom a session of user-interactive authentication has registered: whoever has lost the answer asks again.
ALTER TABLE uia_sessions ADD COLUMN registered TEXT;
