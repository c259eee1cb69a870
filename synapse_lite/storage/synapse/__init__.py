"""What Synapse's database holds, PostgreSQL or SQLite: read only, by its published schema."""
