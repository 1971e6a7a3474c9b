/** What the probes measure. Nothing here judges; see `verdicts.ts`. */

/** What the server, or something before it, says in place of an answer. */
export interface Problem {
  /** The number in the server's answer; absent if it is not the server that speaks. */
  code?: number;
  /** HTTP status; 0 if there was no answer at all. */
  status: number;
  text: string;
}

export interface HttpMeasured {
  /** Of each request, ms. */
  trips: number[];
  /** As the browser calls it: `http/1.1`, `h2`, `h3`. Empty if it does not tell. */
  protocol: string;
  /** Headers that only something on the way adds. */
  signs: string[];
  problem?: Problem;
}

/** A question of our own with the page's Origin. */
export interface OriginMeasured {
  origin: string;
  problem?: Problem;
}

/** One question about the server's clock. */
export interface ClockSample {
  /** How long it took, ms. */
  trip: number;
  /** The server's clock minus ours, ms, give or take half of that. */
  offset: number;
}

export interface SocketMeasured {
  /** Until it was open, ms. */
  openMs?: number;
  /** The subprotocol that was chosen. */
  protocol?: string;
  /** From the token to the first message, ms. */
  greetedMs?: number;
  samples: ClockSample[];
  /** What the server said before it closed. */
  problem?: Problem;
  /** The close frame. */
  closed?: { code: number; reason: string };
  /** What did not come in time. */
  late?: 'open' | 'greeting' | 'pong';
}

export interface StreamMeasured {
  /** Until the head of the answer, ms. */
  headMs?: number;
  /** Until the first event, ms. */
  firstMs?: number;
  /** How long after the server took it each event arrived, ms. */
  delays: number[];
  /** Events that were published and did not come. */
  missing: number;
  /** The content encoding of the stream, where there is one: the server itself never compresses it. */
  encoding?: string;
  problem?: Problem;
  /** Why we could publish no more. */
  unpublished?: Problem;
}

export interface PollMeasured {
  /** Until the answer to a poll that has nothing to wait for, ms. */
  firstMs?: number;
  /** How long it was held until something was published, ms. */
  heldMs?: number;
  /** From there to the answer, ms. */
  answerMs?: number;
  /** It was answered although there was nothing to tell. */
  isEarly?: boolean;
  sample?: ClockSample;
  problem?: Problem;
  /** Why we could publish nothing. */
  unpublished?: Problem;
}

/** One address of a STUN or TURN server. */
export interface RelayMeasured {
  url: string;
  /** What was found, and after how long. */
  found?: { type: string; ms: number };
  /** What the server, or the browser about it, says. */
  errors: { code: number; text: string }[];
  /** Nothing more is to come: the browser has given up, or found all there is. */
  isDone: boolean;
}

export interface IceMeasured {
  relays: RelayMeasured[];
  problem?: Problem;
  /** The browser has no WebRTC, or it is switched off. */
  isMissing?: boolean;
}
