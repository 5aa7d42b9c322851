"""The stateless brain: reads a session's log, decides, calls the model and the tools, appends. May die at any time."""
