// Vaults and credentials of every form; an OAuth credential is tried out against a real MCP server.

import assert from 'node:assert/strict';

import Anthropic from '@anthropic-ai/sdk';

import { every, ids, refused } from './steps.mjs';

const { BadRequestError, ConflictError, NotFoundError } = Anthropic;
const { SURFACE_OAUTH } = process.env;
const SECRET = 's3cret-canary';

const oauth = (path, token_endpoint_auth) => ({
  type: 'mcp_oauth',
  mcp_server_url: `${SURFACE_OAUTH}${path}`,
  access_token: 'access-1',
  expires_at: new Date(Date.now() + 3_600_000).toISOString(),
  refresh: {
    refresh_token: 'refresh-1',
    client_id: 'client',
    token_endpoint: `${SURFACE_OAUTH}/token`,
    token_endpoint_auth,
    scope: 'a b',
    resource: 'https://mcp.example.com',
  },
});

const FORMS = [
  { type: 'static_bearer', mcp_server_url: 'https://one.example.com/mcp', token: SECRET },
  { type: 'mcp_oauth', mcp_server_url: 'https://two.example.com/mcp', access_token: SECRET },
  oauth('/none', { type: 'none' }),
  oauth('/basic', { type: 'client_secret_basic', client_secret: SECRET }),
  oauth('/mcp', { type: 'client_secret_post', client_secret: SECRET }),
  {
    type: 'environment_variable', secret_name: 'TOKEN', secret_value: SECRET, networking: { type: 'unrestricted' },
  },
  {
    type: 'environment_variable', secret_name: 'OTHER', secret_value: SECRET, injection_location: { header: true },
    networking: { type: 'limited', allowed_hosts: ['api.example.com'] },
  },
];

const CHANGES = {
  static_bearer: { token: 'other' },
  mcp_oauth: { access_token: 'access-1' },
  environment_variable: { secret_value: 'other', injection_location: { body: false } },
};

export const steps = {
  async 'a vault is made, changed and listed'(client, made) {
    const vault = await client.beta.vaults.create({ display_name: 'Ada', metadata: { a: 'b' } });
    const changed = await client.beta.vaults.update(vault.id, { display_name: 'Bea', metadata: { a: null } });
    assert.deepEqual([changed.display_name, changed.metadata], ['Bea', {}]);
    assert.deepEqual(await client.beta.vaults.retrieve(vault.id), changed);
    const other = await client.beta.vaults.create({ display_name: 'Other' });
    assert.deepEqual(ids(await every(client.beta.vaults.list({ limit: 1 }))).slice(0, 2), [other.id, vault.id]);
    assert.deepEqual(await client.beta.vaults.delete(other.id), { id: other.id, type: 'vault_deleted' });
    await refused(NotFoundError, () => client.beta.vaults.retrieve(other.id), other.id);
    made.vault = vault.id;
  },

  async 'credentials of every form are kept, changed, and show no secret'(client, made) {
    const credentials = client.beta.vaults.credentials;
    const of = { vault_id: made.vault };
    made.credentials = [];
    for (const auth of FORMS) {
      const one = await credentials.create(made.vault, { auth, display_name: auth.type });
      assert.equal(one.auth.type, auth.type);
      const changed = await credentials.update(one.id, { ...of, auth: { type: auth.type, ...CHANGES[auth.type] } });
      assert.deepEqual(await credentials.retrieve(one.id, of), changed);
      assert.ok(!JSON.stringify([one, changed]).includes(SECRET));
      made.credentials.push(one.id);
    }
    const listed = await every(credentials.list(made.vault, { limit: 2 }));
    assert.deepEqual(ids(listed), made.credentials.toReversed());
    assert.deepEqual(listed[0].auth.injection_location, { header: true, body: false });
    await refused(ConflictError, () => credentials.create(made.vault, { auth: FORMS[0] }));
    const other = { ...of, auth: { type: 'mcp_oauth' } };
    await refused(BadRequestError, () => credentials.update(made.credentials[0], other), 'type');
  },

  async 'an OAuth credential is tried out'(client, { vault, credentials }) {
    const of = { vault_id: vault };
    const tried = await client.beta.vaults.credentials.mcpOAuthValidate(credentials[4], of);
    assert.deepEqual([tried.status, tried.has_refresh_token, tried.mcp_probe], ['valid', true, null]);
    await refused(BadRequestError, () => client.beta.vaults.credentials.mcpOAuthValidate(credentials[0], of));
  },

  async 'credentials and vaults are archived and deleted'(client, { vault, credentials }) {
    const of = { vault_id: vault };
    const api = client.beta.vaults.credentials;
    assert.ok((await api.archive(credentials[0], of)).archived_at);
    assert.ok(!ids(await every(api.list(vault))).includes(credentials[0]));
    assert.ok(ids(await every(api.list(vault, { include_archived: true }))).includes(credentials[0]));
    assert.deepEqual(await api.delete(credentials[1], of), { id: credentials[1], type: 'vault_credential_deleted' });
    await refused(NotFoundError, () => api.retrieve(credentials[1], of), credentials[1]);
    assert.ok((await client.beta.vaults.archive(vault)).archived_at);
    assert.ok((await api.retrieve(credentials[2], of)).archived_at);
    await client.beta.vaults.delete(vault);
    await refused(NotFoundError, () => client.beta.vaults.retrieve(vault), vault);
  },
};
