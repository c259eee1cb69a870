"""How many notifications of a room somebody has not seen (client-server API, "Receiving notifications").

Nothing is written for each member: the count is made when it is read, of the notices that come after what the
user has read, and then kept up to date in memory while the stream goes on.
"""

from synapse_lite.handlers.unread.counts import RoomCounts
from synapse_lite.handlers.unread.reader import UnreadReader
from synapse_lite.handlers.unread.unread_counts import UnreadCounts

__all__ = ["RoomCounts", "UnreadCounts", "UnreadReader"]
