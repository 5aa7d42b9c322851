// Resources that this server does not have: each of their methods is a 404 that says why.

import Anthropic from '@anthropic-ai/sdk';

import { refused } from './steps.mjs';

const absent = (words, calls) => async (client) => {
  for (const call of calls) await refused(Anthropic.NotFoundError, () => call(client), words);
};

const profiles = (of) => [
  (client) => of(client).create({ name: 'x' }),
  (client) => of(client).list(),
  (client) => of(client).retrieve('uprof_1'),
  (client) => of(client).update('uprof_1', { name: 'x' }),
  (client) => of(client).delete('uprof_1'),
  (client) => of(client).actionURLs.create('uprof_1', { action: { type: 'enroll_end_user' } }),
];

const tunnel = { tunnel_id: 'tnl_1' };

export const steps = {
  'there are no user profiles': absent('Messages API', [
    ...profiles((client) => client.userProfiles),
    ...profiles((client) => client.beta.userProfiles),
    ({ beta }) => beta.userProfiles.createEnrollmentURL('uprof_1'),
  ]),

  'there are no tunnels': absent('needs no tunnels', [
    ({ beta }) => beta.tunnels.create({ display_name: 'x' }),
    ({ beta }) => beta.tunnels.list(),
    ({ beta }) => beta.tunnels.retrieve('tnl_1'),
    ({ beta }) => beta.tunnels.archive('tnl_1'),
    ({ beta }) => beta.tunnels.revealToken('tnl_1'),
    ({ beta }) => beta.tunnels.rotateToken('tnl_1', { reason: 'x' }),
    ({ beta }) => beta.tunnels.certificates.create('tnl_1', { ca_certificate_pem: 'x' }),
    ({ beta }) => beta.tunnels.certificates.list('tnl_1'),
    ({ beta }) => beta.tunnels.certificates.retrieve('tcrt_1', tunnel),
    ({ beta }) => beta.tunnels.certificates.archive('tcrt_1', tunnel),
  ]),
};
