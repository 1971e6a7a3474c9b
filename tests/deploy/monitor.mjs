// The dashboard and the alerts before a real Prometheus that asks a real server: every expression is good, and shows
// something wherever the server has counted something.
//
// Usage: RALLYPOINT_BIN=… PROMETHEUS=folder node tests/deploy/monitor.mjs; the last line counts.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const docs = new URL('../../docs/deploy/', import.meta.url);
const scratch = mkdtempSync(join(tmpdir(), 'rallypoint-monitor-'));
const PATIENCE = 30_000;
let [passed, failed] = [0, 0];

function check(good, name) {
  good ? passed++ : failed++;
  console.log(`${good ? 'ok     ' : 'FAILED '} ${name}`);
}

/** Asks again until there is an answer that is good; what is asked may throw meanwhile. */
async function until(what, ask) {
  for (const deadline = Date.now() + PATIENCE; Date.now() < deadline; ) {
    const answer = await ask().catch(() => null);
    if (answer) return answer;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`in vain: ${what}`);
}

const freePort = () =>
  new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });

/** Every expression of the dashboard, with its panel, as Grafana would send it. */
function expressions(dashboard) {
  const filled = (expr) => expr.replaceAll('$__rate_interval', '1m').replaceAll('$instance', '.*');
  const of = ({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr: filled(expr) }));
  const notes = dashboard.annotations.list.map(({ name, expr }) => ({ title: name, expr: filled(expr) }));
  return [...dashboard.panels.flatMap(of), ...notes];
}

/** Names that a server's text has no sample of: what has a label and was not counted yet. */
function unseen(text) {
  const seen = new Set(text.split('\n').map((line) => line.match(/^[a-z_]+/)?.[0]));
  return (expr) => (expr.match(/rallypoint_[a-z_]+/g) ?? []).some((name) => !seen.has(name));
}

async function main() {
  const children = [];
  try {
    // To the server our own variable would be a setting that it does not know.
    const { RALLYPOINT_BIN: binary, ...env } = process.env;
    const server = spawn(binary, ['serve', '--dev', '--listen', '127.0.0.1:0'], {
      env: { ...env, RALLYPOINT_LOG__FILTER: 'error' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(server);
    const exit = once(server, 'exit').then(() => Promise.reject(new Error('the server does not start')));
    const [line] = await Promise.race([once(createInterface(server.stdout), 'line'), exit]);
    exit.catch(() => {});
    const address = line.match(/listens on http:\/\/([^/]*)/)[1];

    // As the manual says, but for the address, the place and the interval.
    const manual = readFileSync(new URL('README.md', docs), 'utf8').match(/```yaml\n([^]*?)```/)[1];
    const config = manual
      .replace('127.0.0.1:9300', address)
      .replace('/etc/prometheus/rallypoint-alerts.yml', new URL('alerts.yml', docs).pathname);
    if (!config.includes(address) || !config.includes(docs.pathname)) throw new Error('the manual has another example');
    writeFileSync(join(scratch, 'prometheus.yml'), `global: { scrape_interval: 1s, evaluation_interval: 1s }\n${config}`);

    const port = await freePort();
    const options = { stdio: 'ignore', cwd: scratch };
    const args = ['--config.file=prometheus.yml', `--web.listen-address=127.0.0.1:${port}`, '--storage.tsdb.path=data'];
    children.push(spawn(join(process.env.PROMETHEUS, 'prometheus'), args, options));
    const api = async (path, query = {}) =>
      (await fetch(`http://127.0.0.1:${port}/api/v1/${path}?${new URLSearchParams(query)}`)).json();
    const query = async (expr) => api('query', { query: expr });
    const count = async (expr) => (await query(expr)).data?.result?.length ?? 0;

    // Something to count: requests that are refused, and polls.
    for (const path of ['/v1/rooms', '/v1/poll?room=lobby&wait=0']) await fetch(`http://${address}${path}`);
    await until('the server is asked', () => count('count_over_time(up{job="rallypoint"}[1m]) > 2'));
    check(await count('up{job="rallypoint"} == 1'), 'Prometheus reads what the server says');
    const { data: kinds } = await api('metadata', { metric: 'rallypoint_latency_seconds' });
    check(kinds?.rallypoint_latency_seconds?.[0]?.type === 'histogram', 'the latencies are a histogram to it');

    const { data: rules } = await until('the alerts are looked at', async () => {
      const rules = await api('rules');
      return rules.data.groups[0]?.rules.every(({ health }) => health !== 'unknown') && rules;
    });
    for (const { name, health, lastError } of rules.groups.flatMap(({ rules }) => rules)) {
      check(health === 'ok', `the alert ${name} ${lastError ?? ''}`);
    }

    const isUnseen = unseen(await (await fetch(`http://${address}/metrics`)).text());
    const dashboard = JSON.parse(readFileSync(new URL('grafana-dashboard.json', docs), 'utf8'));
    let shown = 0;
    for (const { title, expr } of expressions(dashboard)) {
      const { status, error, data } = await query(expr);
      // Without TLS there is no end of a certificate, and nothing has been restarted.
      const mayBeEmpty = isUnseen(expr) || /expires_seconds|code="4000"|changes/.test(expr);
      shown += data?.result?.length > 0 ? 1 : 0;
      check(status === 'success' && (data.result.length > 0 || mayBeEmpty), `${title}: ${expr} ${error ?? ''}`);
    }
    check(shown > 30, `${shown} expressions show something`);

    // Planted: what is no expression, and a name that nobody has.
    check((await query('sum(rate(rallypoint_moves_total[1m])')).status === 'error', 'a slip is seen');
    check((await count('rallypoint_rooom')) === 0 && isUnseen('rallypoint_rooom'), 'a wrong name shows nothing');
  } finally {
    const ended = (child) => child.exitCode ?? child.signalCode ?? once(child, 'exit');
    children.forEach((child) => child.kill('SIGTERM'));
    await Promise.all(children.map(ended));
    rmSync(scratch, { recursive: true });
  }
}

await main().catch((error) => check(false, String(error)));
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
