"""Change your mind: stop the agent in the middle of a command and give it something else to do."""

import os

from anthropic import Anthropic

client = Anthropic()
model = os.environ.get("EXAMPLE_MODEL", "scripted/tools")  # calls the tools that a message names

agent = client.beta.agents.create(name="busy", model=model, tools=[{"type": "agent_toolset_20260401"}])
environment = client.beta.environments.create(name="busy")
session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)


def message(text):
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


redirected = answered = False
with client.beta.sessions.events.stream(session.id) as stream:
    client.beta.sessions.events.send(session.id, events=[message("Wait for the slow thing:\nbash: sleep 600")])
    for event in stream:
        if event.type == "agent.tool_use":
            print("calls:", event.name, str(event.input)[:80])
            if not redirected:
                redirected = True
                print("you: stop, do something else")
                client.beta.sessions.events.send(
                    session.id, events=[{"type": "user.interrupt"}, message("Just say hello.")]
                )
        elif event.type == "agent.tool_result":
            print("result:", *(block.text for block in event.content or [] if block.type == "text"))
        elif event.type == "agent.message":
            print("agent:", *(block.text for block in event.content if block.type == "text"))
            answered = redirected
        elif event.type == "session.status_idle" and answered:  # the interrupt itself ends in an idle as well
            break

print("status:", client.beta.sessions.retrieve(session.id).status)
