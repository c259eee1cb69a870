"""What servers say to each other: keys, signed requests, and events on their way into rooms."""
