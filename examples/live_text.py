"""Text as it is written: previews are opened on this connection only, and each ends in the stored event."""

import os

from anthropic import Anthropic
from anthropic.lib.sessions import accumulate_managed_agents_event

client = Anthropic()
model = os.environ.get("EXAMPLE_MODEL", "scripted/echo")

agent = client.beta.agents.create(name="talker", model=model)
environment = client.beta.environments.create(name="talk")
session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)

draft = None
with client.beta.sessions.events.stream(session.id, event_deltas=["agent.message"]) as stream:
    client.beta.sessions.events.send(
        session.id,
        events=[{"type": "user.message", "content": [{"type": "text", "text": "Tell me something, slowly."}]}],
    )
    for event in stream:
        draft = accumulate_managed_agents_event(draft, event)
        if event.type == "event_delta":
            print(event.delta.content.text, end="", flush=True)
        elif event.type == "agent.message":
            print()
            assert draft is not None
            print("stored:", "".join(block.text for block in draft.content if block.type == "text"))
        elif event.type == "session.status_idle":
            break
