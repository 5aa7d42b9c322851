// Sessions, their events, streams, threads and resources.

import assert from 'node:assert/strict';

import Anthropic, { toFile } from '@anthropic-ai/sdk';
import { betaTool } from '@anthropic-ai/sdk/helpers/beta/json-schema';

import { TOOLSET, every, ids, pages, parts, refused, say, turn, untilIdle } from './steps.mjs';

const { BadRequestError, NotFoundError } = Anthropic;
const { SURFACE_MODEL, SURFACE_BASH, SURFACE_ASK } = process.env;

const texts = (events) =>
  events.filter((event) => event.type === 'agent.message').flatMap((event) => event.content.map((block) => block.text));

/** But for its durations, which go on. */
const still = (one) => ({ ...one, stats: null });

export const steps = {
  async 'a session is made, read and changed'(client, made) {
    made.parts = await parts(client, SURFACE_BASH, [TOOLSET]);
    const session = await client.beta.sessions.create({ ...made.parts, title: 't', metadata: { a: 'b' } });
    assert.deepEqual([session.type, session.status, session.title], ['session', 'idle', 't']);
    assert.equal(session.agent.id, made.parts.agent);
    const changed = await client.beta.sessions.update(session.id, { title: 'other', metadata: { a: null, c: 'd' } });
    assert.deepEqual([changed.title, changed.metadata], ['other', { c: 'd' }]);
    assert.deepEqual(still(await client.beta.sessions.retrieve(session.id)), still(changed));
    made.session = session;
  },

  async 'a turn with a tool call is seen on the stream and in the history'(client, { session }) {
    const seen = await turn(client, session.id, 'echo $((40 + 2))');
    const result = seen.find((event) => event.type === 'agent.tool_result');
    assert.deepEqual(result.content.map((block) => block.text), ['42']);
    assert.deepEqual(texts(seen), ['Done.']);
    const history = await every(client.beta.sessions.events.list(session.id, { limit: 3 }));
    const fresh = new Set(ids(history));
    assert.deepEqual(ids(seen).filter((id) => !fresh.has(id)), []);
    const back = await every(client.beta.sessions.events.list(session.id, { order: 'desc' }));
    assert.deepEqual(ids(back).reverse(), ids(history));
    const types = ['agent.tool_use', 'user.message'];
    const some = await every(client.beta.sessions.events.list(session.id, { types }));
    assert.deepEqual(some.map((event) => event.type), ['user.message', 'agent.tool_use']);
    const bad = { events: [{ type: 'user.tool_confirmation', tool_use_id: 'sevt_none', result: 'allow' }] };
    await refused(BadRequestError, () => client.beta.sessions.events.send(session.id, bad), 'sevt_none');
  },

  async 'live text comes as deltas before its event'(client, { session }) {
    const stream = await client.beta.sessions.events.stream(session.id, { event_deltas: ['agent.message'] });
    await client.beta.sessions.events.send(session.id, { events: [say('true')] });
    const seen = await untilIdle(stream);
    const deltas = seen.filter((event) => event.type === 'event_delta');
    assert.equal(deltas.map((event) => event.delta.content.text).join(''), 'Done.');
  },

  async 'the thread of a session is listed, read, and followed'(client, { session }) {
    const threads = client.beta.sessions.threads;
    const [thread, ...none] = await every(threads.list(session.id, { limit: 1 }));
    assert.deepEqual([none, thread.parent_thread_id, thread.session_id], [[], null, session.id]);
    assert.deepEqual(still(await threads.retrieve(thread.id, { session_id: session.id })), still(thread));
    const stream = await threads.events.stream(thread.id, { session_id: session.id });
    await client.beta.sessions.events.send(session.id, { events: [say('true')] });
    for await (const event of stream) if (event.type === 'session.thread_status_idle') break;
    const events = await every(threads.events.list(thread.id, { session_id: session.id, limit: 5 }));
    assert.equal(texts(events).length, 3);
    await refused(BadRequestError, () => threads.archive(thread.id, { session_id: session.id }), 'primary');
  },

  async 'a tool of the client is run by the runner of the SDK'(client) {
    const given = { name: 'ask', description: 'Asks.' };
    const inputSchema = { type: 'object', properties: { what: { type: 'string' } } };
    const tool = betaTool({ ...given, inputSchema, run: ({ what }) => `you asked ${what}` });
    const custom = { type: 'custom', ...given, input_schema: inputSchema };
    const session = await client.beta.sessions.create({
      ...(await parts(client, SURFACE_ASK, [custom])),
      initial_events: [say('Ask.')],
    });
    const calls = [];
    for await (const call of client.beta.sessions.events.toolRunner(session.id, { tools: [tool], maxIdleMs: 100 })) {
      calls.push([call.name, call.isError, call.posted]);
    }
    assert.deepEqual(calls, [['ask', false, true]]);
    const history = await every(client.beta.sessions.events.list(session.id));
    assert.equal(history.at(-1).stop_reason.type, 'end_turn');
    assert.deepEqual(texts(history), ['you asked why']);
  },

  async 'a session has files as resources, from the start and later'(client, { parts }) {
    const files = [];
    for (const name of ['a.txt', 'b.txt']) {
      files.push(await client.beta.files.upload({ file: await toFile(Buffer.from(name), name) }));
    }
    const repository = { type: 'github_repository', url: 'https://github.com/first/app', authorization_token: 't0ken' };
    const session = await client.beta.sessions.create({
      ...parts,
      resources: [{ type: 'file', file_id: files[0].id, mount_path: '/a.txt' }, repository],
    });
    assert.deepEqual(session.resources.map((one) => one.type), ['file', 'github_repository']);
    assert.ok(!JSON.stringify(session).includes('t0ken'));
    const resources = client.beta.sessions.resources;
    const added = await resources.add(session.id, { type: 'file', file_id: files[1].id });
    assert.equal((await every(resources.list(session.id, { limit: 1 }))).length, 3);
    const of = { session_id: session.id };
    assert.deepEqual(await resources.retrieve(added.id, of), added);
    const seen = await turn(client, session.id, `cat /mnt/session/uploads/a.txt ${added.mount_path}`);
    const result = seen.find((event) => event.type === 'agent.tool_result');
    assert.equal(result.content[0].text, 'a.txtb.txt');
    const rotated = await resources.update(session.resources[1].id, { ...of, authorization_token: 'other' });
    assert.equal(rotated.id, session.resources[1].id);
    await refused(BadRequestError, () => resources.update(added.id, { ...of, authorization_token: 'x' }));
    assert.deepEqual(await resources.delete(added.id, of), { id: added.id, type: 'session_resource_deleted' });
    await refused(NotFoundError, () => resources.retrieve(added.id, of));
  },

  async 'sessions are listed with filters, forwards and backwards'(client, { parts }) {
    const agent = (await client.beta.agents.create({ name: 'listed', model: SURFACE_MODEL })).id;
    const made = [];
    for (let number = 0; number < 5; number += 1) {
      made.push(await client.beta.sessions.create({ ...parts, agent }));
    }
    const wanted = ids(made);
    const asked = { agent_id: agent, order: 'asc', statuses: ['idle'], 'created_at[gte]': made[0].created_at };
    assert.deepEqual(ids(await every(client.beta.sessions.list({ ...asked, limit: 2 }))), wanted);
    const found = await pages(client.beta.sessions.list({ ...asked, limit: 2 }));
    assert.deepEqual(found.map((page) => page.data.length), [2, 2, 1]);
    assert.equal(found[0].prev_page, null);
    const back = await client.beta.sessions.list({ ...asked, limit: 2, page: found[2].prev_page });
    assert.deepEqual(ids(back.data), wanted.slice(2, 4));
    assert.deepEqual(ids((await client.beta.sessions.list({ agent_id: agent, limit: 1 })).data), [wanted[4]]);
    assert.deepEqual(await every(client.beta.sessions.list({ ...asked, statuses: ['running'] })), []);
    const desc = { agent_id: agent, order: 'desc', page: found[0].next_page };
    await refused(BadRequestError, () => client.beta.sessions.list(desc), 'order');
  },

  async 'a session is archived and deleted'(client, { session, parts }) {
    const archived = await client.beta.sessions.archive(session.id);
    assert.deepEqual([archived.status, Boolean(archived.archived_at)], ['terminated', true]);
    const list = (include_archived) => client.beta.sessions.list({ agent_id: parts.agent, include_archived });
    assert.ok(!ids(await every(list(false))).includes(session.id));
    assert.ok(ids(await every(list(true))).includes(session.id));
    await refused(BadRequestError, () => client.beta.sessions.events.send(session.id, { events: [say('x')] }));
    assert.deepEqual(await client.beta.sessions.delete(session.id), { id: session.id, type: 'session_deleted' });
    await refused(NotFoundError, () => client.beta.sessions.retrieve(session.id), session.id);
    await refused(NotFoundError, () => client.beta.sessions.events.list(session.id));
    await refused(NotFoundError, () => client.beta.sessions.events.stream(session.id));
  },
};
