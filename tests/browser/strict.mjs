/** A server as one runs it for others: it hands out no tokens. */

import { createHmac } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, startServer } from './lib.mjs';

const SECRET = 'a secret of the tests, which is none';
const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** Starts one; `sign` makes a token for it. */
export async function startStrict(after) {
  const folder = await mkdtemp(join(tmpdir(), 'rallypoint-strict-'));
  after(() => rm(folder, { recursive: true, force: true }));
  const config = join(folder, 'rallypoint.toml');
  const port = await freePort();
  const audiences = 'audience = "tests"\nadmin_audience = "tests-admin"\n';
  const keys = `[auth]\n${audiences}\n[[auth.keys]]\nalgorithm = "HS256"\nsecret = "${SECRET}"\n`;
  await writeFile(config, `origins = ["http://127.0.0.1:${port}"]\n${keys}`);
  const server = await startServer({ port, dev: false, env: { RALLYPOINT_CONFIG: config } });
  after(server.stop);
  const sign = (claims) => {
    const aud = claims.admin ? ['tests', 'tests-admin'] : 'tests';
    const said = { iss: 'tests', aud, exp: Math.floor(Date.now() / 1000) + 3_600, ...claims };
    const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(said)}`;
    return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
  };
  return { ...server, sign };
}
