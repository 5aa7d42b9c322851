// Agents and their versions, environments, models.

import assert from 'node:assert/strict';

import Anthropic from '@anthropic-ai/sdk';

import { TOOLSET, every, ids, pages, refused } from './steps.mjs';

const { BadRequestError, ConflictError, NotFoundError } = Anthropic;
const { SURFACE_MODEL } = process.env;

export const steps = {
  async 'an agent is made and read'(client, made) {
    const tools = [TOOLSET, { type: 'custom', name: 'ask', description: 'Asks.', input_schema: { type: 'object' } }];
    const agent = await client.beta.agents.create({ name: 'one', model: SURFACE_MODEL, tools, metadata: { a: 'b' } });
    assert.match(agent._request_id, /^req_/);
    assert.equal(agent.type, 'agent');
    assert.equal(agent.version, 1);
    assert.deepEqual(agent.model, { id: SURFACE_MODEL });
    assert.deepEqual(agent.tools.map((tool) => tool.type), ['agent_toolset_20260401', 'custom']);
    assert.deepEqual(await client.beta.agents.retrieve(agent.id), agent);
    made.agent = agent;
  },

  async 'an agent gets versions, and a stale one is a conflict'(client, { agent }) {
    const same = await client.beta.agents.update(agent.id, { version: 1, name: 'one' });
    assert.equal(same.version, 1);
    const changed = await client.beta.agents.update(agent.id, { version: 1, name: 'two', metadata: { a: null } });
    assert.deepEqual([changed.version, changed.name, changed.metadata], [2, 'two', {}]);
    const late = { version: 1, name: 'three' };
    const stale = await refused(ConflictError, () => client.beta.agents.update(agent.id, late));
    assert.deepEqual([stale.status, stale.type], [409, 'conflict_error']);
    assert.equal((await client.beta.agents.retrieve(agent.id, { version: 1 })).name, 'one');
    const versions = await every(client.beta.agents.versions.list(agent.id, { limit: 1 }));
    assert.deepEqual(versions.map((one) => one.version), [2, 1]);
  },

  async 'agents are listed page by page, and archived ones when asked for'(client, { agent }) {
    const others = [];
    for (const name of ['b', 'c']) others.push(await client.beta.agents.create({ name, model: SURFACE_MODEL }));
    const archived = await client.beta.agents.archive(others[0].id);
    assert.ok(archived.archived_at);
    const all = [others[1].id, others[0].id, agent.id];
    const since = { 'created_at[gte]': agent.created_at };
    assert.deepEqual(ids(await every(client.beta.agents.list({ limit: 1, ...since }))), [all[0], all[2]]);
    const found = await pages(client.beta.agents.list({ limit: 2, include_archived: true, ...since }));
    assert.deepEqual(found.map((page) => ids(page.getPaginatedItems())), [all.slice(0, 2), all.slice(2)]);
    const change = { version: 1, name: 'x' };
    await refused(BadRequestError, () => client.beta.agents.update(others[0].id, change), 'archived');
  },

  async 'what is wrong with an agent is said'(client) {
    const unnamed = { name: '', model: SURFACE_MODEL };
    const bad = await refused(BadRequestError, () => client.beta.agents.create(unnamed), 'name');
    assert.deepEqual([bad.status, bad.type], [400, 'invalid_request_error']);
    const none = await refused(NotFoundError, () => client.beta.agents.retrieve('agent_none'), 'agent_none');
    assert.deepEqual([none.status, none.type], [404, 'not_found_error']);
    const stranger = new Anthropic({ apiKey: 'outr_nobody', maxRetries: 0 });
    await refused(Anthropic.AuthenticationError, () => stranger.beta.agents.list());
  },

  async 'an environment is made, changed, archived and deleted'(client) {
    const networking = { type: 'limited', allowed_hosts: ['example.com'] };
    const made = await client.beta.environments.create({ name: 'e', config: { type: 'cloud', networking } });
    assert.deepEqual(made.config.networking.allowed_hosts, ['example.com']);
    assert.deepEqual(await client.beta.environments.retrieve(made.id), made);
    const changed = await client.beta.environments.update(made.id, { description: 'd', metadata: { a: 'b' } });
    assert.deepEqual([changed.description, changed.metadata], ['d', { a: 'b' }]);
    const selfHosted = { config: { type: 'self_hosted' } };
    const type = await refused(BadRequestError, () => client.beta.environments.update(made.id, selfHosted));
    assert.equal(type.errorCode, 'invalid_config_type_change');
    const other = await client.beta.environments.create({ name: 'f', config: { type: 'self_hosted' } });
    const listed = ids(await every(client.beta.environments.list({ limit: 1 })));
    assert.deepEqual(listed.slice(0, 2), [other.id, made.id]);
    assert.ok((await client.beta.environments.archive(made.id)).archived_at);
    assert.ok(!ids(await every(client.beta.environments.list())).includes(made.id));
    assert.ok(ids(await every(client.beta.environments.list({ include_archived: true }))).includes(made.id));
    assert.deepEqual(await client.beta.environments.delete(other.id), { id: other.id, type: 'environment_deleted' });
    const gone = await refused(NotFoundError, () => client.beta.environments.retrieve(other.id));
    assert.equal(gone.errorCode, 'environment_not_found');
  },

  async 'models are listed by either name of the resource'(client) {
    for (const models of [client.models, client.beta.models]) {
      const found = await every(models.list({ limit: 1 }));
      assert.deepEqual(ids(found).slice(0, 2), ['listed-one', 'listed-two']);
      assert.deepEqual(await models.retrieve('listed-two'), found[1]);
      const last = await models.list({ limit: 1, after_id: 'listed-one' });
      const back = await models.list({ limit: 1, before_id: last.data[0].id });
      assert.deepEqual(ids(back.data), ['listed-one']);
      await refused(NotFoundError, () => models.retrieve('listed-none'));
    }
  },
};
