/** What the measurements of sockets, streams, polls and clocks mean. It touches no page, network or clock. */

import { ms } from '../status/units.js';
import type { ClockSample, PollMeasured, SocketMeasured, StreamMeasured } from './measured.js';
import { bad, good, halfTried, PROXY_TODO, refused, spread, TOKEN_TODO, warning, type Facts, type Verdict } from './verdicts.js';

/** `auth.leeway_ms` as it is when nobody sets it: how far clocks may be apart, ms. */
const LEEWAY_MS = 30_000;
/** Clocks that are so far apart are worth a word, ms. */
const APART_MS = 1_000;
/** Events that come later are noticed; later than that something holds them back, ms. */
const DELAY_MS = { warning: 250, bad: 1_000 };
const FAR_MS = 300;
/** A line on which one round trip takes so much longer than most is uneven. */
const UNEVEN = { times: 4, ms: 100 };

export function judgeSocket(measured: SocketMeasured, hasToken: boolean): Verdict {
  const { openMs, protocol, greetedMs, samples, problem, closed, late } = measured;
  const trip = spread(samples.map((sample) => sample.trip));
  const facts: Facts = [];
  if (openMs !== undefined) facts.push(['Open after', ms(openMs)]);
  if (protocol) facts.push(['Subprotocol', protocol]);
  if (greetedMs !== undefined) facts.push(['Session after', ms(greetedMs)]);
  if (trip) facts.push(['Round trip, p50', ms(trip.p50)], ['Longest', ms(trip.most)], ['Pings', `${samples.length}`]);
  if (closed) facts.push(['Closed with', closed.reason ? `${closed.code}, ${closed.reason}` : `${closed.code}`]);
  if (openMs === undefined) {
    const text =
      late === 'open'
        ? 'The WebSocket does not open: nobody answers its handshake.'
        : 'The WebSocket is refused before it is open; a browser does not tell why.';
    const todo =
      'Look at “Origin” first. If that is good, a proxy on the way does not pass on the headers Upgrade and ' +
      `Connection. ${PROXY_TODO} Until then clients go around it, over streams or long poll.`;
    return bad(text, todo, facts);
  }
  if (!protocol) {
    const text =
      'The WebSocket opens without a subprotocol: it is not this server that answers, or a proxy drops the ' +
      'header.';
    return bad(text, `Have the proxy pass Sec-WebSocket-Protocol on. ${PROXY_TODO}`, facts);
  }
  if (problem?.code === 701 || problem?.code === 702) {
    return bad(`The WebSocket opens, and the server does not accept the token (${problem.code}).`, TOKEN_TODO, facts);
  }
  if (problem) return refused(problem, facts);
  if (!hasToken) {
    return warning('The WebSocket opens; a round trip could not be tried without a token.', TOKEN_TODO, facts);
  }
  if (late || !trip) {
    const todo =
      'Something on the way looks into WebSockets and holds them up: a proxy, or a virus scanner. Over https ' +
      'such programs mostly let them be.';
    return bad('The WebSocket opens, and then nothing more comes through it.', todo, facts);
  }
  if (trip.p50 > FAR_MS) {
    const text =
      `The WebSocket works, and the server is far away: half of the round trips take more than ${ms(trip.p50)}.`;
    return warning(text, 'Games will feel it. Try another network, or a server nearer by.', facts);
  }
  if (trip.most > UNEVEN.times * trip.p50 + UNEVEN.ms) {
    const text =
      `The WebSocket works, and the line is uneven: most round trips take ${ms(trip.p50)}, one took ` +
      `${ms(trip.most)}.`;
    return warning(text, 'On a wireless network, try it nearer to the router, or by cable.', facts);
  }
  return good(`The WebSocket works, with round trips of ${ms(trip.p50)}.`, facts);
}

/** The truest of some samples: that of the shortest trip. */
export function clockOf(samples: readonly ClockSample[]): ClockSample | undefined {
  return [...samples].sort((a, b) => a.trip - b.trip)[0];
}

export function judgeClock(samples: readonly ClockSample[]): Verdict {
  const best = clockOf(samples);
  if (!best) {
    const text = 'The clocks could not be compared: neither a WebSocket nor a poll came through.';
    return warning(text, 'See what is said there.');
  }
  const [apart, doubt] = [Math.abs(best.offset), best.trip / 2];
  const facts: Facts = [
    ['Server minus here', `${best.offset < 0 ? '−' : '+'}${ms(apart)}`],
    ['Give or take', ms(doubt)],
    ['Tokens allow', ms(LEEWAY_MS)],
  ];
  const how = `The clock of this device is ${ms(apart)} ${best.offset < 0 ? 'ahead of' : 'behind'} the server’s`;
  if (apart - doubt > LEEWAY_MS) {
    const text = `${how}, which is more than tokens allow for (auth.leeway_ms).`;
    const todo =
      'Have the device set its clock by itself. If it is right, look at the server’s: it would take good tokens ' +
      'for expired, and make TURN credentials that are.';
    return warning(text, todo, facts);
  }
  if (apart + doubt > LEEWAY_MS) {
    const text = `The clocks cannot be compared well: ${ms(apart)} apart, give or take ${ms(doubt)}.`;
    return warning(text, 'Run it again on a quieter line.', facts);
  }
  return good(apart - doubt > APART_MS ? `${how}; tokens allow for that.` : 'The clocks agree.', facts);
}

const LISTENS_ONLY = 'could not be tried: the token lets us publish nowhere of our own.';

export function judgeStream({ headMs, firstMs, delays, missing, encoding, problem, unpublished }: StreamMeasured): Verdict {
  const delay = spread(delays);
  const facts: Facts = [];
  if (headMs !== undefined) facts.push(['Head after', ms(headMs)]);
  if (firstMs !== undefined) facts.push(['First event after', ms(firstMs)]);
  if (delay) facts.push(['Flush delay, p50', ms(delay.p50)], ['Longest', ms(delay.most)]);
  if (delay || missing) facts.push(['Events', `${delays.length} of ${delays.length + missing}`]);
  if (encoding) facts.push(['Encoding', encoding]);
  if (problem) return refused(problem, facts);
  const todo =
    'Switch buffering and compression of v1/events off there (nginx: proxy_buffering off; gzip off). ' +
    `${PROXY_TODO} Until then clients use long poll.`;
  if (firstMs === undefined) {
    const text =
      headMs === undefined
        ? 'No stream comes through: a proxy on the way buffers it, and waits for an end that never comes.'
        : 'The answer begins, and its first event does not come: a proxy on the way buffers it.';
    return bad(text, todo, facts);
  }
  if (missing && !delay) {
    return bad('The first event came and none of those after it: a proxy on the way buffers.', todo, facts);
  }
  if (delay && (missing || delay.p50 > DELAY_MS.bad)) {
    const text = missing ? 'Some events do not come' : `Events come up to ${ms(delay.most)} late`;
    return bad(`${text}: a proxy on the way buffers them, and lets them go in heaps.`, todo, facts);
  }
  if (encoding) {
    const text = `Something on the way compresses the stream (${encoding}), which holds events back sooner or later.`;
    return warning(text, todo, facts);
  }
  if (delay && delay.most > DELAY_MS.warning) {
    const text = `Events come through, some of them ${ms(delay.most)} late.`;
    return warning(text, `If this is always so, something on the way gathers them. ${PROXY_TODO}`, facts);
  }
  if (!delay && unpublished) return halfTried('The stream comes through. How late events are', unpublished, facts);
  if (!delay) return good(`The stream comes through. How late events are ${LISTENS_ONLY}`, facts);
  return good(`Events come ${ms(delay.p50)} after they were published. Nothing on the way buffers.`, facts);
}

export function judgePoll({ firstMs, heldMs, answerMs, isEarly, problem, unpublished }: PollMeasured): Verdict {
  const facts: Facts = [];
  if (firstMs !== undefined) facts.push(['First answer', ms(firstMs)]);
  if (heldMs !== undefined) facts.push(['Held for', ms(heldMs)]);
  if (answerMs !== undefined) facts.push(['Then answered in', ms(answerMs)]);
  if (problem) return refused(problem, facts);
  if (isEarly) {
    const text = 'A poll is answered before there is anything to tell: something on the way does not let it wait.';
    return bad(text, `Let answers take 75 s there, and keep none of them. ${PROXY_TODO}`, facts);
  }
  if (heldMs === undefined) return good(`Polls are answered. That they are held ${LISTENS_ONLY}`, facts);
  if (unpublished) return halfTried('A poll is held. How soon it is answered', unpublished, facts);
  if (answerMs === undefined) {
    const text = 'A poll is held, and not answered when something happens.';
    return bad(text, `Something on the way keeps the answer. ${PROXY_TODO}`, facts);
  }
  if (answerMs > DELAY_MS.bad) {
    const text = `A poll is held, and answered only ${ms(answerMs)} after the event.`;
    return warning(text, `Something on the way is slow to pass answers on. ${PROXY_TODO}`, facts);
  }
  return good(`A poll is held, and answered ${ms(answerMs)} after the event.`, facts);
}

