// The work queue of a self-hosted environment, by hand and through the SDK's poller and worker.

import assert from 'node:assert/strict';
import { mkdtemp, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import Anthropic from '@anthropic-ai/sdk';

import { TOOLSET, every, refused, say, untilIdle } from './steps.mjs';

const { SURFACE_BASH } = process.env;

/** A self-hosted environment, a client with its key, and a session that waits for a worker to run a command. */
async function waiting(client, command) {
  const environment = await client.beta.environments.create({ name: 'elsewhere', config: { type: 'self_hosted' } });
  const body = { name: 'worker', scope: 'environment', environment_id: environment.id };
  const { key } = await client.post('/outrider/v1/keys', { body });
  const agent = await client.beta.agents.create({ name: 'far', model: SURFACE_BASH, tools: [TOOLSET] });
  const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
  const stream = await client.beta.sessions.events.stream(session.id);
  await client.beta.sessions.events.send(session.id, { events: [say(command)] });
  return { id: environment.id, key, session: session.id, stream, worker: client.withOptions({ apiKey: key }) };
}

async function polled(work, environment, options) {
  for (let tries = 0; tries < 20; tries += 1) {
    const item = await work.poll(environment, { block_ms: 900, 'Anthropic-Worker-ID': 'surface', ...options });
    if (item !== null) return item;
  }
  throw new Error('nothing was queued');
}

/** Until there is something to hand out: a poller that drains ends at the first empty answer. And until the session waits
 * for its result: an interrupt is over with its answer then, and nobody is asked for anew. */
async function queued(client, environment, session) {
  for (let tries = 0; tries < 400; tries += 1) {
    const { depth } = await client.beta.environments.work.stats(environment);
    if (depth > 0 && (await client.beta.sessions.retrieve(session)).status === 'idle') return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('nothing was queued');
}

export const steps = {
  async 'work is polled, acknowledged, held and stopped'(client) {
    const { id, session, worker } = await waiting(client, 'true');
    const of = { environment_id: id };
    const { work } = worker.beta.environments;
    const item = await polled(work, id);
    assert.deepEqual([item.data, item.state], [{ type: 'session', id: session }, 'queued']);
    assert.ok(item.secret);
    assert.equal(await work.poll(id), null);
    assert.equal((await client.beta.environments.work.stats(id)).pending, 1);
    assert.equal((await work.ack(item.id, of)).state, 'starting');
    const first = await work.heartbeat(item.id, { ...of, expected_last_heartbeat: 'NO_HEARTBEAT' });
    assert.deepEqual([first.state, first.lease_extended], ['active', true]);
    const beat = (expected_last_heartbeat) => work.heartbeat(item.id, { ...of, expected_last_heartbeat });
    const lost = await refused(Anthropic.PreconditionFailedError, () => beat('never'));
    assert.equal(lost.errorCode, 'heartbeat_precondition_failed');
    assert.equal(lost.details.current_state.state, 'active');
    assert.notEqual((await beat(first.last_heartbeat)).last_heartbeat, first.last_heartbeat);
    const operator = client.beta.environments.work;
    const noted = await operator.update(item.id, { ...of, metadata: { a: 'b' } });
    assert.deepEqual([noted.metadata, noted.secret], [{ a: 'b' }, null]);
    assert.equal((await operator.retrieve(item.id, of)).state, 'active');
    assert.deepEqual((await every(operator.list(id, { limit: 1 }))).map((one) => one.id), [item.id]);
    assert.equal((await work.stop(item.id, { ...of, force: true })).state, 'stopped');
    await client.beta.sessions.events.send(session, { events: [{ type: 'user.interrupt' }] });
  },

  async 'the poller of the SDK hands out what is queued'(client) {
    const { id, key, session, worker } = await waiting(client, 'true');
    await queued(client, id, session);
    const seen = [];
    const poller = worker.beta.environments.work.poller({ environmentId: id, environmentKey: key, drain: true });
    for await (const item of poller) {
      seen.push(item.data.id);
      await client.beta.sessions.events.send(session, { events: [{ type: 'user.interrupt' }] });
    }
    assert.deepEqual(seen, [session]);
  },

  async 'the worker of the SDK runs the commands of a session'(client) {
    const { id, key, stream, worker } = await waiting(client, 'echo from afar | tee made.txt');
    const workdir = await mkdtemp(join(process.cwd(), 'work-'));
    const ending = new AbortController();
    const options = { environmentId: id, environmentKey: key, workdir, maxIdleMs: 100, signal: ending.signal };
    const running = worker.beta.environments.work.worker(options).run();
    const events = await untilIdle(stream);
    const result = events.find((event) => event.type === 'user.tool_result');
    assert.equal(result.content[0].text.trim(), 'from afar');
    assert.equal(await readFile(join(workdir, 'made.txt'), 'utf8'), 'from afar\n');
    ending.abort();
    await running;
  },
};
