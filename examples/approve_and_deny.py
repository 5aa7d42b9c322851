"""A person in the loop: each shell command waits for approval. Anything that deletes is denied, with a reason."""

import os

from anthropic import Anthropic

client = Anthropic()
model = os.environ.get("EXAMPLE_MODEL", "scripted/tools")  # calls the tools that a message names

agent = client.beta.agents.create(
    name="careful",
    model=model,
    tools=[
        {
            "type": "agent_toolset_20260401",
            "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}],
        }
    ],
)
environment = client.beta.environments.create(name="careful")
session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
asked = {}

with client.beta.sessions.events.stream(session.id) as stream:
    task = "Look around in /workspace and clean it up:\nbash: ls -a /workspace\nbash: rm -rf /workspace/*"
    client.beta.sessions.events.send(
        session.id, events=[{"type": "user.message", "content": [{"type": "text", "text": task}]}]
    )
    for event in stream:
        if event.type == "agent.tool_use" and event.evaluated_permission == "ask":
            asked[event.id] = str(event.input.get("command", ""))
        elif event.type == "agent.message":
            print("agent:", *(block.text for block in event.content if block.type == "text"))
        elif event.type == "session.status_idle":
            if event.stop_reason.type != "requires_action":
                print("done:", event.stop_reason.type)
                break
            for event_id in event.stop_reason.event_ids:
                command = asked.pop(event_id, None)
                if command is None:
                    continue  # answered a moment ago
                denied = "rm " in command
                print("denied:" if denied else "allowed:", command)
                answer = {"type": "user.tool_confirmation", "tool_use_id": event_id, "result": "allow"}
                if denied:
                    answer |= {"result": "deny", "deny_message": "Nothing may be deleted."}
                client.beta.sessions.events.send(session.id, events=[answer])
