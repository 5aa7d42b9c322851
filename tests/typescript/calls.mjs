// Which methods the SDK's resources have, as found at run time, and which of them were called.

import assert from 'node:assert/strict';

/** Parts of the SDK that are no part of managed agents, and so not gone over. */
const ELSEWHERE = {
  messages: 'the Messages API is what this server uses, not what it offers',
  'beta.messages': 'the Messages API is what this server uses, not what it offers',
  organization: 'administration of the hosted service',
  'beta.organization': 'administration of the hosted service',
};

const elsewhere = (path) => Object.keys(ELSEWHERE).some((root) => path === root || path.startsWith(`${root}.`));

/** Each resource of the client with its path: `[['beta.agents', ...], ...]`. */
function resources(client) {
  const Resource = Object.getPrototypeOf(Object.getPrototypeOf(client.beta.files)).constructor;
  assert.equal(Resource.name, 'APIResource');
  const found = [];
  const walk = (owner, prefix) => {
    for (const [name, value] of Object.entries(owner)) {
      if (name.startsWith('_') || !(value instanceof Resource)) continue;
      found.push([prefix + name, value]);
      walk(value, `${prefix}${name}.`);
    }
  };
  walk(client, '');
  return found;
}

function methods(resource) {
  const names = Object.getOwnPropertyNames(Object.getPrototypeOf(resource));
  return names.filter((name) => name !== 'constructor' && !name.startsWith('_'));
}

/** From now on each method that is called, of any client, gets its path into the set that this returns. */
export function recordCalls(client) {
  const called = new Set();
  for (const [path, resource] of resources(client)) {
    const prototype = Object.getPrototypeOf(resource);
    for (const name of methods(resource)) {
      const original = prototype[name];
      prototype[name] = function (...given) {
        called.add(`${path}.${name}`);
        return original.apply(this, given);
      };
    }
  }
  return called;
}

/** The methods that the SDK has and nobody called, but for those that are elsewhere. Lists what is not there, too. */
export function missing(client, called) {
  const found = resources(client);
  const paths = new Set(found.map(([path]) => path));
  const stale = Object.keys(ELSEWHERE).filter((path) => !paths.has(path));
  assert.deepEqual(stale, [], 'exceptions that the SDK does not have');
  return found
    .filter(([path]) => !elsewhere(path))
    .flatMap(([path, resource]) => methods(resource).map((name) => `${path}.${name}`))
    .filter((path) => !called.has(path));
}
