// Steps with names and a deadline each, and short words for what most of them check.

import assert from 'node:assert/strict';

const SECONDS = 60;

/** Run named steps in order; the first failure says its step and ends the program. */
export async function runSteps(steps, client) {
  const made = {};
  for (const [name, step] of Object.entries(steps)) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`not done within ${SECONDS} s`)), SECONDS * 1000);
    });
    try {
      await Promise.race([step(client, made), late]);
    } catch (error) {
      console.error(`step "${name}" failed: ${error.stack ?? error}`);
      process.exit(1);
    } finally {
      clearTimeout(timer);
    }
    console.log(name);
  }
}

/** The call must be refused with this class of error; the error is given back. */
export async function refused(kind, call, words = '') {
  let answered;
  try {
    answered = await call();
  } catch (error) {
    assert.ok(error instanceof kind, `expected ${kind.name}, got ${error?.constructor?.name}: ${error?.message}`);
    assert.ok(error.message.includes(words), `"${words}" is not in: ${error.message}`);
    assert.match(error.requestID, /^req_/);
    assert.equal(error.error.type, 'error');
    return error;
  }
  throw new Error(`expected ${kind.name}, got an answer: ${JSON.stringify(answered)}`);
}

/** All items of a list, by auto-iteration over pages of `limit`. */
export async function every(list) {
  const items = [];
  for await (const item of list) items.push(item);
  return items;
}

export const ids = (items) => items.map((item) => item.id);

/** Pages of a list, one by one, by hand. */
export async function pages(list) {
  const found = [await list];
  while (found.at(-1).hasNextPage()) found.push(await found.at(-1).getNextPage());
  return found;
}

export const say = (text) => ({ type: 'user.message', content: [{ type: 'text', text }] });

export const TOOLSET = { type: 'agent_toolset_20260401' };

/** An agent and a cloud environment for a session. */
export async function parts(client, model, tools = []) {
  const agent = await client.beta.agents.create({ name: 'surface', model, tools });
  const environment = await client.beta.environments.create({ name: 'surface' });
  return { agent: agent.id, environment_id: environment.id };
}

/** Send a message with the stream open, and read it until the turn has ended. The events that came. */
export async function turn(client, session, text) {
  const stream = await client.beta.sessions.events.stream(session);
  await client.beta.sessions.events.send(session, { events: [say(text)] });
  return untilIdle(stream);
}

export async function untilIdle(stream) {
  const events = [];
  for await (const event of stream) {
    events.push(event);
    if (event.type === 'session.status_idle' && event.stop_reason.type === 'end_turn') break;
  }
  return events;
}
