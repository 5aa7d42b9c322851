"""What limits the figures whose target is missed, by their row on the page. A test holds the page to these."""

LIMITS = {
    "durable append, one writer": (
        "one `fdatasync` of the disk, and some 0.1 ms of statements and hops between the event loop and the thread that"
        " writes, in Python; several writers share both."
    ),
    "durable append to PostgreSQL, 64 sessions": ("PostgreSQL's own processor time beside the server's on two cores."),
}
