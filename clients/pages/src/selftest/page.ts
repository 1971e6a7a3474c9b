/** The self-test: runs every check, shows what each came to, and writes the report. */

import '../shell/start.js';
import { reloadForToken, tokenOfAddress } from '../shell/address.js';
import { copy } from '../shell/copy.js';
import { at, setText } from '../shell/el.js';
import { askForToken, claimsOf, NoTokens, tokenHelp } from '../shell/token.js';
import { Card } from './card.js';
import { groundOf, WISH, type Ground } from './ground.js';
import { judgeClock, judgePoll, judgeSocket, judgeStream } from './live.js';
import type { ClockSample } from './measured.js';
import { probeHttp, probeOrigin } from './probes/http.js';
import { probeIce } from './probes/ice.js';
import { probePoll } from './probes/poll.js';
import { probeSocket } from './probes/socket.js';
import { probeStream } from './probes/stream.js';
import { judgeIce } from './relays.js';
import { report, summary, worst, type Result } from './report.js';
import { bad, judgeHttp, judgeOrigin, noToken, warning, type Level, type Verdict } from './verdicts.js';

reloadForToken();

/** What the checks have in common. */
interface World {
  token: string | undefined;
  ground: Ground;
  /** What the checks have heard of the server's clock so far. */
  samples: ClockSample[];
}

interface Check {
  title: string;
  run: (world: World) => Promise<Verdict>;
}

const NOWHERE = warning(
  'The token lets us watch no room.',
  'Open this page with a token that has watch, and publish or chat, in rooms of some pattern such as selftest/*.',
);
/** Where a question with our Origin is asked when the token has no room to publish in: it is refused after that. */
const ANYWHERE: Ground = { room: 'selftest/origin' };

/** A check that needs a room to listen in. */
const inRoom = (what: string, run: (world: World & { token: string }) => Promise<Verdict>) => async (world: World) => {
  if (world.token === undefined) return noToken(what);
  if (!world.ground.room) return NOWHERE;
  return run({ ...world, token: world.token });
};

/** In the order in which they run; the clocks are compared by what the others heard. */
const CHECKS: readonly Check[] = [
  { title: 'HTTP', run: async () => judgeHttp(await probeHttp()) },
  {
    title: 'Origin',
    run: async ({ ground, token }) => judgeOrigin(await probeOrigin(ground.kind ? ground : ANYWHERE, token)),
  },
  {
    title: 'WebSocket',
    run: async ({ token, samples }) => {
      const measured = await probeSocket(token);
      samples.push(...measured.samples);
      return judgeSocket(measured, token !== undefined);
    },
  },
  {
    title: 'Event stream',
    run: inRoom('A stream', async ({ ground, token }) => judgeStream(await probeStream(ground, token))),
  },
  {
    title: 'Long poll',
    run: inRoom('A poll', async ({ ground, token, samples }) => {
      const measured = await probePoll(ground, token);
      if (measured.sample) samples.push(measured.sample);
      return judgePoll(measured);
    }),
  },
  {
    title: 'Clock',
    run: async ({ token, samples }) => (token === undefined ? noToken('The clocks') : judgeClock(samples)),
  },
  {
    title: 'STUN and TURN',
    run: async ({ token }) => (token === undefined ? noToken('STUN and TURN') : judgeIce(await probeIce(token))),
  },
];

const WHOLE: Record<Level, string> = {
  good: 'All is well',
  warning: 'It works, with something to look at',
  bad: 'Something does not get through',
};

const cards = CHECKS.map(({ title }) => new Card(title));
at('checks').replaceChildren(...cards.map(({ element }) => element));
const again = at('again', HTMLButtonElement);
const copying = at('copy', HTMLButtonElement);

/** The token, and in a word or two where it is from. */
async function findToken(): Promise<{ token?: string; from: string }> {
  const given = tokenOfAddress();
  if (given) return { token: given, from: 'from the address' };
  try {
    return { token: await askForToken(WISH), from: 'from /dev/token: a development server' };
  } catch (fault) {
    if (fault instanceof NoTokens) {
      at('help').replaceChildren(tokenHelp({ room: '‘selftest/*’', role: 'host' }));
      at('help').hidden = false;
      return { from: 'none, and the server hands out none' };
    }
    return { from: `none: ${fault instanceof Error ? fault.message : String(fault)}` };
  }
}

async function run(): Promise<void> {
  again.disabled = copying.disabled = true;
  at('whole').dataset['level'] = 'running';
  setText(at('verdict'), 'Looking…');
  setText(at('summary'), 'This takes a few seconds.');
  setText(at('report'), 'It is written when all is done.');
  for (const card of cards) card.wait();

  const { token, from } = await findToken();
  const name = crypto.getRandomValues(new Uint32Array(1))[0]?.toString(36) ?? '0';
  const ground = token === undefined ? undefined : groundOf(claimsOf(token), name);
  const world: World = { token, ground: ground ?? { room: '' }, samples: [] };
  const results: Result[] = [];
  for (const [n, { title, run: check }] of CHECKS.entries()) {
    const card = cards[n];
    card?.run();
    const verdict = await check(world).catch((fault: unknown) => {
      const why = fault instanceof Error ? fault.message : String(fault);
      return bad(`The check itself has failed: ${why}`, 'Please report this as a fault of the page.');
    });
    results.push({ title, verdict });
    card?.show(verdict);
  }

  const level = worst(results);
  at('whole').dataset['level'] = level;
  setText(at('verdict'), WHOLE[level]);
  setText(at('summary'), summary(results));
  const around = {
    version: document.querySelector('.foot b')?.textContent ?? '',
    at: new Date(),
    page: location.href,
    browser: navigator.userAgent,
    isSecure: isSecureContext,
    token: from,
  };
  setText(at('report'), report(results, around));
  again.disabled = copying.disabled = false;
}

again.addEventListener('click', () => void run());
copying.addEventListener('click', () => void copy(at('report').textContent, copying));
void run();
