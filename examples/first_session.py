"""The shortest useful program: an agent, an environment, a session, one task, and its steps as they happen.

eval "$(outrider env)"
python examples/first_session.py
"""

import os

from anthropic import Anthropic

client = Anthropic()
model = os.environ.get("EXAMPLE_MODEL", "scripted/demo")

agent = client.beta.agents.create(name="first", model=model, tools=[{"type": "agent_toolset_20260401"}])
environment = client.beta.environments.create(name="first")
session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id, title="First session")

with client.beta.sessions.events.stream(session.id) as stream:
    task = "Write a small package with a test, and make the test pass."
    client.beta.sessions.events.send(
        session.id, events=[{"type": "user.message", "content": [{"type": "text", "text": task}]}]
    )
    for event in stream:
        if event.type == "agent.message":
            print("agent:", *(block.text for block in event.content if block.type == "text"))
        elif event.type == "agent.tool_use":
            print("calls:", event.name, str(event.input)[:100])
        elif event.type == "session.error":
            print("error:", event.error.message)
        elif event.type == "session.status_idle":
            print("done:", event.stop_reason.type)
            break
