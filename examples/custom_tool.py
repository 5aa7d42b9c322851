"""A tool of your own: the model calls it, the session waits, your program answers, the model goes on."""

import os

from anthropic import Anthropic

client = Anthropic()
model = os.environ.get("EXAMPLE_MODEL", "scripted/tools")  # calls the tools that a message names


def stock_level(article: str) -> str:
    return {"apple": "12 boxes", "pear": "none"}.get(article, "unknown article")


agent = client.beta.agents.create(
    name="shopkeeper",
    model=model,
    tools=[
        {
            "type": "custom",
            "name": "stock_level",
            "description": "How much of an article is in stock.",
            "input_schema": {
                "type": "object",
                "properties": {"article": {"type": "string"}},
                "required": ["article"],
            },
        }
    ],
)
environment = client.beta.environments.create(name="shop")
session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)

with client.beta.sessions.events.stream(session.id) as stream:
    question = 'Do we have apples?\nstock_level: {"article": "apple"}'
    client.beta.sessions.events.send(
        session.id, events=[{"type": "user.message", "content": [{"type": "text", "text": question}]}]
    )
    for event in stream:
        if event.type == "agent.custom_tool_use":
            answer = stock_level(str(event.input["article"]))
            print("tool:", event.input["article"], "->", answer)
            client.beta.sessions.events.send(
                session.id,
                events=[
                    {
                        "type": "user.custom_tool_result",
                        "custom_tool_use_id": event.id,
                        "content": [{"type": "text", "text": answer}],
                    }
                ],
            )
        elif event.type == "agent.message":
            print("agent:", *(block.text for block in event.content if block.type == "text"))
        elif event.type == "session.status_idle" and event.stop_reason.type != "requires_action":
            print("done:", event.stop_reason.type)
            break
