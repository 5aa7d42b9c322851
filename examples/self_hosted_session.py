"""A session whose tools run on a machine of yours, with a skill and a memory store. `worker.py` runs there."""

import os
import time

from anthropic import Anthropic

client = Anthropic()
environment_id = os.environ["ANTHROPIC_ENVIRONMENT_ID"]
model = os.environ.get("EXAMPLE_MODEL", "scripted/tools")  # calls the tools that a message names
SKILL = b"""\
---
name: morning-greeting
description: How this team greets in the morning.
---
Say good morning, and write down for whom.
"""

skill = client.beta.skills.create(files=[("morning-greeting/SKILL.md", SKILL)])
store = client.beta.memory_stores.create(name="Greetings")
client.beta.memory_stores.memories.create(store.id, path="/ada.md", content="Ada likes to be greeted first.\n")
agent = client.beta.agents.create(
    name="greeter",
    model=model,
    tools=[
        {"type": "agent_toolset_20260401"},
        {
            "type": "custom",
            "name": "machine",
            "description": "Tell what the machine runs that the tools act on.",
            "input_schema": {"type": "object", "properties": {}},
        },
    ],
    skills=[{"type": "custom", "skill_id": skill.id}],
)
session = client.beta.sessions.create(
    agent=agent.id,
    environment_id=environment_id,
    resources=[{"type": "memory_store", "memory_store_id": store.id, "access": "read_write"}],
)
WISH = """\
Greet Ada, and remember it.
read: {"file_path": "skills/morning-greeting/SKILL.md"}
machine: {}
bash: cat /mnt/memory/greetings/ada.md; echo Greeted. > /mnt/memory/greetings/today.md
"""

with client.beta.sessions.events.stream(session.id) as stream:
    client.beta.sessions.events.send(
        session.id, events=[{"type": "user.message", "content": [{"type": "text", "text": WISH}]}]
    )
    for event in stream:
        if event.type in ("agent.tool_use", "agent.custom_tool_use"):
            print("calls:", event.name)
        elif event.type == "agent.message":
            print("agent:", *(block.text for block in event.content if block.type == "text"))
        elif event.type == "session.status_idle" and event.stop_reason.type != "requires_action":
            print("done:", event.stop_reason.type)
            break

# What the agent wrote comes back while the worker is at work, at the latest when it leaves the session.
while any(item.state != "stopped" for item in client.beta.environments.work.list(environment_id)):
    time.sleep(0.5)
for version in client.beta.memory_stores.memory_versions.list(store.id, session_id=session.id):
    print("remembered:", version.path)
