-- The room has taken over what the user had set for the one that it replaces: once, whatever becomes of the user there.
ALTER TABLE memberships ADD COLUMN carried BOOLEAN NOT NULL DEFAULT FALSE;
