// Files, skills and their versions, memory stores with memories and versions, dreams.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';

import Anthropic, { toFile } from '@anthropic-ai/sdk';

import { TOOLSET, every, ids, parts, refused, turn } from './steps.mjs';

const { BadRequestError, ConflictError, NotFoundError } = Anthropic;
const { SURFACE_BASH, SURFACE_SLOW, SURFACE_SKILL_ZIP } = process.env;

const sha256 = (text) => createHash('sha256').update(text).digest('hex');

const skill = async (description) => [
  await toFile(Buffer.from(`---\nname: greeting\ndescription: ${description}\n---\nSay hello.\n`), 'greeting/SKILL.md'),
  await toFile(Buffer.from('echo hello\n'), 'greeting/scripts/hello.sh'),
];

export const steps = {
  async 'files go up, are listed and deleted, by either name of the resource'(client) {
    for (const files of [client.files, client.beta.files]) {
      const file = await toFile(Buffer.from('a,b\n'), 'table.csv', { type: 'text/csv' });
      const made = await files.upload({ file, expires_in_seconds: 3600 });
      assert.deepEqual([made.filename, made.mime_type, made.size_bytes], ['table.csv', 'text/csv', 4]);
      assert.ok(made.expires_at);
      assert.deepEqual(await files.retrieveMetadata(made.id), made);
      const other = await files.upload({ file: await toFile(Buffer.from('x'), 'x.txt') });
      assert.deepEqual(ids(await every(files.list({ limit: 1 }))).slice(0, 2), [other.id, made.id]);
      assert.deepEqual(ids(await every(files.list({ ids: [made.id, 'file_none'] }))), [made.id]);
      const kept = await refused(BadRequestError, () => files.download(made.id));
      assert.equal(kept.errorCode, 'file_not_downloadable');
      assert.deepEqual(await files.delete(made.id), { id: made.id, type: 'file_deleted' });
      await refused(NotFoundError, () => files.retrieveMetadata(made.id), made.id);
    }
  },

  async 'what an agent leaves comes down'(client) {
    const session = await client.beta.sessions.create(await parts(client, SURFACE_BASH, [TOOLSET]));
    await turn(client, session.id, 'echo hello > /mnt/session/outputs/hi.txt');
    const [left, ...more] = await every(client.beta.files.list({ scope_id: session.id }));
    assert.deepEqual([left.filename, more], ['hi.txt', []]);
    const answer = await client.beta.files.download(left.id);
    assert.equal(await answer.text(), 'hello\n');
  },

  async 'skills are uploaded loose and as a zip, and have versions'(client) {
    for (const skills of [client.skills, client.beta.skills]) {
      const made = await skills.create({ files: await skill('First.'), display_name: 'How to greet' });
      assert.deepEqual([made.display_name, made.source], ['How to greet', { type: 'custom' }]);
      const of = { skill_id: made.id };
      const first = await skills.versions.retrieve('latest', of);
      assert.deepEqual([first.id, first.name, first.description], [made.latest_version_id, 'greeting', 'First.']);
      const zip = await toFile(await readFile(SURFACE_SKILL_ZIP), 'greeting.zip');
      const second = await skills.versions.create(made.id, { files: [zip] });
      assert.equal(second.description, 'Zipped.');
      assert.deepEqual(ids(await every(skills.versions.list(made.id, { limit: 1 }))), [second.id, first.id]);
      const versions = skills.versions.download ? skills.versions : client.beta.skills.versions; // has no other name
      const answer = await versions.download(second.id, of);
      assert.deepEqual(Buffer.from(await answer.arrayBuffer()).subarray(0, 2).toString(), 'PK');
      assert.equal((await skills.retrieve(made.id)).latest_version_id, second.id);
      assert.equal((await skills.versions.delete(second.id, of)).type, 'skill_version_deleted');
      await refused(BadRequestError, () => skills.versions.delete(first.id, of), 'delete the skill');
      assert.ok(ids(await every(skills.list({ source: 'custom', limit: 1 }))).includes(made.id));
      assert.ok(ids(await every(skills.list({ source: 'anthropic' }))).includes('pdf'));
      assert.deepEqual(await skills.delete(made.id), { id: made.id, type: 'skill_deleted' });
      await refused(NotFoundError, () => skills.retrieve(made.id), made.id);
    }
  },

  async 'a memory store is made, changed and listed'(client, made) {
    const stores = client.beta.memoryStores;
    const store = await stores.create({ name: 'Notes', metadata: { a: 'b' } });
    const changed = await stores.update(store.id, { description: 'd', metadata: { a: null } });
    assert.deepEqual([changed.name, changed.description, changed.metadata], ['Notes', 'd', {}]);
    assert.deepEqual(await stores.retrieve(store.id), changed);
    const other = await stores.create({ name: 'Other' });
    assert.deepEqual(ids(await every(stores.list({ limit: 1 }))).slice(0, 2), [other.id, store.id]);
    assert.deepEqual(await stores.delete(other.id), { id: other.id, type: 'memory_store_deleted' });
    await refused(NotFoundError, () => stores.retrieve(other.id), other.id);
    made.store = store.id;
  },

  async 'memories are written under conditions'(client, { store }) {
    const memories = client.beta.memoryStores.memories;
    const of = { memory_store_id: store };
    const one = await memories.create(store, { path: '/a/one.md', content: 'one', view: 'full' });
    assert.deepEqual([one.content, one.content_sha256, one.content_size_bytes], ['one', sha256('one'), 3]);
    assert.deepEqual(await memories.retrieve(one.id, of), one);
    const taken = await refused(ConflictError, () => memories.create(store, { path: '/a/one.md', content: '' }));
    assert.equal(taken.type, 'memory_path_conflict_error');
    const precondition = (text) => ({ type: 'content_sha256', content_sha256: sha256(text) });
    const update = (was, content) => memories.update(one.id, { ...of, content, precondition: precondition(was) });
    const two = await update('one', 'two');
    assert.notEqual(two.memory_version_id, one.memory_version_id);
    const stale = await refused(ConflictError, () => update('one', 'three'));
    assert.equal(stale.type, 'memory_precondition_failed_error');
    await memories.create(store, { path: '/b.md', content: 'b' });
    const listed = await every(memories.list(store, { depth: 1, limit: 1 }));
    assert.deepEqual(listed.map((item) => [item.type, item.path]), [['memory_prefix', '/a/'], ['memory', '/b.md']]);
    await refused(ConflictError, () => memories.delete(one.id, { ...of, expected_content_sha256: sha256('one') }));
    const gone = await memories.delete(one.id, { ...of, expected_content_sha256: sha256('two') });
    assert.deepEqual(gone, { id: one.id, type: 'memory_deleted' });
    await refused(NotFoundError, () => memories.retrieve(one.id, of), one.id);
  },

  async 'versions outlive their memory and can be redacted'(client, { store }) {
    const versions = client.beta.memoryStores.memoryVersions;
    const of = { memory_store_id: store };
    const all = await every(versions.list(store, { limit: 1 }));
    assert.deepEqual(all.map((one) => one.operation), ['deleted', 'created', 'modified', 'created']);
    assert.deepEqual(all.map((one) => one.created_by.type), Array(4).fill('api_actor'));
    const first = await versions.retrieve(all[3].id, of);
    assert.equal(first.content, 'one');
    const redacted = await versions.redact(first.id, of);
    assert.deepEqual([redacted.content, redacted.path, Boolean(redacted.redacted_at)], [null, null, true]);
    await refused(BadRequestError, () => versions.redact(all[1].id, of));
  },

  async 'an archived memory store can be read, and no more be written'(client, { store }) {
    assert.ok((await client.beta.memoryStores.archive(store)).archived_at);
    await refused(BadRequestError, () => client.beta.memoryStores.update(store, { name: 'x' }), 'archived');
    const left = await every(client.beta.memoryStores.memories.list(store));
    assert.deepEqual(left.map((one) => one.path), ['/b.md']);
  },

  async 'a dream is asked for, canceled and archived'(client) {
    const dreams = client.beta.dreams;
    const store = await client.beta.memoryStores.create({ name: 'Notes' });
    const session = await client.beta.sessions.create(await parts(client, SURFACE_BASH));
    const inputs = [
      { type: 'memory_store', memory_store_id: store.id },
      { type: 'sessions', session_ids: [session.id] },
    ];
    const one = await dreams.create({ inputs, model: SURFACE_SLOW });
    assert.deepEqual([one.status, one.inputs, one.outputs], ['pending', inputs, []]);
    assert.equal((await dreams.cancel(one.id)).status, 'canceled');
    assert.deepEqual((await dreams.retrieve(one.id)).error, null);
    assert.deepEqual(ids(await every(dreams.list({ statuses: ['canceled'], limit: 1 }))), [one.id]);
    assert.ok((await dreams.archive(one.id)).archived_at);
    await refused(NotFoundError, () => dreams.retrieve('drm_none'), 'drm_none');
  },
};
