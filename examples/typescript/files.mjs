// A file goes up, the agent leaves one of its own, and that comes down.
//
//     eval "$(outrider env)"
//     npm ci && node files.mjs

import Anthropic, { toFile } from '@anthropic-ai/sdk';

const client = new Anthropic();
const files = client.beta.files;

const made = await files.upload({ file: await toFile(Buffer.from('a,b\n1,2\n'), 'table.csv', { type: 'text/csv' }) });
const known = await files.retrieveMetadata(made.id);
console.log('up:', known.filename, known.mime_type, known.size_bytes);
for await (const file of files.list({ limit: 1 })) {
  console.log('newest:', file.filename);
  break;
}
console.log('gone:', (await files.delete(made.id)).type);

const agent = await client.beta.agents.create({
  name: 'files',
  model: process.env.EXAMPLE_MODEL ?? 'scripted/demo',
  tools: [{ type: 'agent_toolset_20260401' }],
});
const environment = await client.beta.environments.create({ name: 'files' });
const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
const stream = await client.beta.sessions.events.stream(session.id);
await client.beta.sessions.events.send(session.id, {
  events: [{ type: 'user.message', content: [{ type: 'text', text: 'Leave me a greeting as a file.' }] }],
});
for await (const event of stream) {
  if (event.type === 'session.status_idle') break;
}
for await (const file of files.list({ scope_id: session.id })) {
  const answer = await files.download(file.id);
  console.log('left:', file.filename, (await answer.text()).trim());
}
