"""Two agents on two model endpoints in one server: the model's name chooses the endpoint.

Name two models that `[endpoints...]` of your config file list: EXAMPLE_MODELS=first,second. Without, both are scripted.
"""

import os

from anthropic import Anthropic

client = Anthropic()
models = os.environ.get("EXAMPLE_MODELS", "scripted/echo,scripted/think").split(",")
environment = client.beta.environments.create(name="two models")

for number, model in enumerate(models, start=1):
    agent = client.beta.agents.create(name=f"agent {number}", model=model)
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.events.send(
            session.id, events=[{"type": "user.message", "content": [{"type": "text", "text": "Who are you?"}]}]
        )
        for event in stream:
            if event.type == "agent.message":
                print(f"{model}:", *(block.text for block in event.content if block.type == "text"))
            elif event.type == "session.status_idle":
                break
