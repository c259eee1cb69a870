"""The life of a room: how events come into it, from this server's users and from other servers.

`append` and `receive` are the two ways in. Both build on heads (`heads`), and what else is written
in the transaction of an event is the matter of `contributors`.
"""
