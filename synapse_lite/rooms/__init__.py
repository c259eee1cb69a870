"""The life of a room: how events come into it, from this server's users and from other servers.

Events of this server's users are built by `append`. Those of others are judged by `receive`, many at once by `runs` and
`branches`, those of the past by `history`; `enter`, `partial` and `outside` are about rooms whose state others have to
tell. All build on heads (`heads`), and what else is written in the transaction of an event is up to `contributors`.
"""
