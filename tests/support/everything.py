"""One of everything that a server can hold, by the names of path parameters."""

from __future__ import annotations

from typing import Any

import httpx2
from anthropic import Anthropic
from live_server import Server, Stage
from people import headers
from sdk_clients import sdk_client
from session_talk import Talk
from webhook_receiver import ask as ask_of_webhooks
from webhook_receiver import delivery as delivered
from workers import environment_of, live_work

from outrider.models.scripted.script import ToolUse, Turn


def things(server: Server, stage: Stage) -> dict[str, str]:
    client = sdk_client(server.url, server.key)
    agent = client.beta.agents.create(name="first's", model=stage.put("model-of-first", Turn("Hi.")))
    environment = client.beta.environments.create(name="first's")
    vault = client.beta.vaults.create(display_name="first's")
    auth: Any = {"type": "static_bearer", "mcp_server_url": "https://mcp.example", "token": "a token of the first"}
    credential = client.beta.vaults.credentials.create(vault.id, auth=auth)
    repository: Any = {"type": "github_repository", "url": "https://github.com/first/app", "authorization_token": "x"}
    session = client.beta.sessions.create(
        agent=agent.id, environment_id=environment.id, vault_ids=[vault.id], resources=[repository]
    )
    resource: Any = session.resources[0].to_dict()
    thread = next(iter(client.beta.sessions.threads.list(session.id)))
    store = client.beta.memory_stores.create(name="first's")
    memory = client.beta.memory_stores.memories.create(store.id, path="/a", content="of the first")
    skill = client.beta.skills.create(files=[("a/SKILL.md", b"---\nname: first\ndescription: The first's.\n---\n")])
    said: Any = {"type": "user.message", "content": [{"type": "text", "text": "Hi."}]}
    deployment = client.beta.deployments.create(
        name="first's", agent=agent.id, environment_id=environment.id, initial_events=[said]
    )
    run = client.beta.deployments.run(deployment.id)
    dream = client.beta.dreams.create(model="model-of-first", inputs=dream_inputs(store.id, session.id))
    key = httpx2.get(f"{server.url}/outrider/v1/keys", headers=headers(server.key)).json()["data"][0]
    webhook = made_webhook(server)
    delivery = delivered(server.url, server.key, webhook, bool)[0]
    hosted = environment_of(client)
    own = httpx2.get(f"{server.url}/v1/agents", headers=headers(server.key)).headers["anthropic-workspace-id"]
    return {
        "workspace_id": own,
        "hosted_id": hosted,
        "work_id": waiting_work(client, stage, hosted),
        "webhook_id": webhook,
        "delivery_id": delivery["id"],
        "agent_id": agent.id,
        "environment_id": environment.id,
        "vault_id": vault.id,
        "credential_id": credential.id,
        "session_id": session.id,
        "thread_id": thread.id,
        "resource_id": resource["id"],
        "key_id": key["id"],
        "deployment_id": deployment.id,
        "deployment_run_id": run.id,
        "dream_id": dream.id,
        "memory_store_id": store.id,
        "memory_id": memory.id,
        "memory_version_id": memory.memory_version_id,
        "skill_id": skill.id,
        "skill_version_id": skill.latest_version_id,
        "file_id": client.beta.files.upload(file=("first's.txt", b"of the first", "text/plain")).id,
    }


def dream_inputs(store: str, session: str) -> list[Any]:
    return [{"type": "memory_store", "memory_store_id": store}, {"type": "sessions", "session_ids": [session]}]


def made_webhook(server: Server) -> str:
    """One that has something to tell, to nobody."""
    body = {"url": "https://hooks.first.invalid/", "enabled_events": ["vault.created"]}
    made: str = ask_of_webhooks(server.url, server.key, "POST", "", body)["id"]
    sdk_client(server.url, server.key).beta.vaults.create(display_name="told")
    return made


def waiting_work(client: Anthropic, stage: Stage, environment: str) -> str:
    """The item of a session that waits for a worker."""
    model = stage.put("model-at-work", Turn(ToolUse("bash", {"command": "ls"})))
    agent = client.beta.agents.create(name="first's", model=model, tools=[{"type": "agent_toolset_20260401"}])
    talk = Talk(client, client.beta.sessions.create(agent=agent.id, environment_id=environment).id)
    talk.say("go")
    talk.wait()
    (item,) = live_work(client, environment)
    return item.id
