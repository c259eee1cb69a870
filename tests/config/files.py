"""What tests of the configuration read."""

from pathlib import Path

FULL = Path(__file__).with_name("homeserver.yaml")
SMALL = "server_name: example.com\ndatabase: {name: psycopg2}\n"
