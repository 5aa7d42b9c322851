// Goes over the whole managed-agents surface of the official TypeScript SDK, unmodified, against a real server.
//
// One line on standard output for each step; the first that fails is named on standard error, and ends the program. At
// the end the methods that the SDK has are compared with those that were called: none may be missing.

import Anthropic from '@anthropic-ai/sdk';

import * as absent from './absent.mjs';
import * as contents from './contents.mjs';
import * as definitions from './definitions.mjs';
import * as deployments from './deployments.mjs';
import * as queue from './queue.mjs';
import * as sessions from './sessions.mjs';
import * as vaults from './vaults.mjs';
import * as webhooks from './webhooks.mjs';
import { missing, recordCalls } from './calls.mjs';
import { runSteps } from './steps.mjs';

const client = new Anthropic({ maxRetries: 0 });
const called = recordCalls(client);
const groups = [definitions, sessions, contents, vaults, deployments, queue, webhooks, absent];
for (const group of groups) {
  await runSteps(group.steps, client);
}
const left = missing(client, called);
if (left.length > 0) {
  console.error(`methods of the SDK that no step calls: ${left.join(', ')}`);
  process.exit(1);
}
console.log(`${called.size} methods`);
process.exit(0);
