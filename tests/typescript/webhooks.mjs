// A webhook that this program receives itself, verified by the SDK.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { once } from 'node:events';

const API = '/outrider/v1/webhooks';

/** The next request that comes, once it is answered: its headers and body. */
async function received(server) {
  const [request, response] = await once(server, 'request');
  const parts = [];
  for await (const part of request) parts.push(part);
  response.writeHead(204).end();
  return { headers: request.headers, body: Buffer.concat(parts).toString() };
}

export const steps = {
  async 'a delivery is verified, and a forged one is not'(client) {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${server.address().port}/hook`;
    const endpoint = await client.post(API, { body: { url, enabled_events: ['vault.created'] } });
    const coming = received(server);
    const vault = await client.beta.vaults.create({ display_name: 'Told of' });
    const { headers, body } = await coming;
    const key = endpoint.signing_secret;
    const event = client.beta.webhooks.unwrap(body, { headers, key });
    assert.deepEqual([event.type, event.data.type, event.data.id], ['event', 'vault.created', vault.id]);
    assert.deepEqual(client.beta.webhooks.parseUnverified(body), event);
    assert.throws(() => client.beta.webhooks.unwrap(body.replace(vault.id, 'vlt_forged'), { headers, key }));
    assert.throws(() => client.beta.webhooks.unwrap(body, { headers, key: `whsec_${btoa('x'.repeat(32))}` }));
    await client.delete(`${API}/${endpoint.id}`);
    server.close();
    server.closeAllConnections();
  },
};
