// An agent, an environment, a session, one task, and its steps as they happen.
//
//     eval "$(outrider env)"
//     npm ci && node first_session.mjs

import Anthropic from '@anthropic-ai/sdk';

const client = new Anthropic();
const model = process.env.EXAMPLE_MODEL ?? 'scripted/demo';

const agent = await client.beta.agents.create({
  name: 'first',
  model,
  tools: [{ type: 'agent_toolset_20260401' }],
});
const environment = await client.beta.environments.create({ name: 'first' });
const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });

const stream = await client.beta.sessions.events.stream(session.id);
await client.beta.sessions.events.send(session.id, {
  events: [{ type: 'user.message', content: [{ type: 'text', text: 'Write a small package with a test.' }] }],
});

for await (const event of stream) {
  if (event.type === 'agent.message') {
    console.log('agent:', event.content.map((block) => (block.type === 'text' ? block.text : '')).join(' '));
  } else if (event.type === 'agent.tool_use') {
    console.log('calls:', event.name);
  } else if (event.type === 'session.error') {
    console.log('error:', event.error.message);
  } else if (event.type === 'session.status_idle') {
    console.log('done:', event.stop_reason.type);
    break;
  }
}
