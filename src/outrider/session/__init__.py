"""What a session's log means: its rows, the state folded from them, what a client may add, and the live feed."""
