// Deployments and their runs.

import assert from 'node:assert/strict';

import Anthropic from '@anthropic-ai/sdk';

import { every, ids, parts, refused, say } from './steps.mjs';

const { BadRequestError, NotFoundError } = Anthropic;
const { SURFACE_MODEL } = process.env;

export const steps = {
  async 'a deployment is made, changed, paused and unpaused'(client, made) {
    const api = client.beta.deployments;
    const schedule = { type: 'cron', expression: '30 6 1 1 *', timezone: 'Europe/Berlin' };
    const given = { ...(await parts(client, SURFACE_MODEL)), initial_events: [say('Go.')] };
    const one = await api.create({ ...given, name: 'nightly', schedule });
    assert.deepEqual([one.status, one.schedule.upcoming_runs_at.length], ['active', 5]);
    assert.deepEqual(await api.retrieve(one.id), one);
    const changed = await api.update(one.id, { description: 'd', metadata: { a: 'b' } });
    assert.deepEqual([changed.description, changed.metadata], ['d', { a: 'b' }]);
    assert.equal((await api.pause(one.id)).paused_reason.type, 'manual');
    assert.deepEqual(ids(await every(api.list({ status: 'paused', limit: 1 }))), [one.id]);
    assert.equal((await api.unpause(one.id)).status, 'active');
    const daily = { ...given, name: 'x', schedule: { ...schedule, expression: '@daily' } };
    await refused(BadRequestError, () => api.create(daily), 'schedule');
    await refused(NotFoundError, () => api.retrieve('depl_none'), 'depl_none');
    made.deployment = one.id;
  },

  async 'a run by hand opens a session, and the deployment is archived'(client, { deployment }) {
    const run = await client.beta.deployments.run(deployment);
    assert.deepEqual([run.trigger_context, run.error], [{ type: 'manual' }, null]);
    assert.deepEqual(ids(await every(client.beta.sessions.list({ deployment_id: deployment }))), [run.session_id]);
    const again = await client.beta.deployments.run(deployment);
    const asked = { deployment_id: deployment, has_error: false, limit: 1 };
    const runs = await every(client.beta.deploymentRuns.list(asked));
    assert.deepEqual(ids(runs), [again.id, run.id]);
    assert.deepEqual(await client.beta.deploymentRuns.retrieve(run.id), run);
    assert.ok((await client.beta.deployments.archive(deployment)).archived_at);
    await refused(BadRequestError, () => client.beta.deployments.run(deployment), 'archived');
  },
};
