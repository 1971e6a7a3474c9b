/** Where a token lets us try things without disturbing anybody. */

/** A room of our own, and what may be published in it. */
export interface Ground {
  room: string;
  /** `message` is chat; undefined: the token lets us only listen. */
  kind?: 'selftest' | 'message';
}

/** The rooms that a development server is asked for. */
export const WISH = { rooms: [{ r: 'selftest/*', role: 'host' }] } as const;

interface Entry {
  r: string;
  do: string[];
}

function entries(claims: Record<string, unknown>): Entry[] {
  const rooms: unknown = claims['rooms'];
  if (!Array.isArray(rooms)) return [];
  return rooms.filter(
    (entry: Partial<Entry> | null): entry is Entry => typeof entry?.r === 'string' && Array.isArray(entry.do),
  );
}

/**
 * The best room that the token covers, called `name` where a pattern leaves that to us. A room that the token names
 * exactly is somebody's: there we only listen.
 */
export function groundOf(claims: Record<string, unknown>, name: string): Ground | undefined {
  const all = entries(claims).filter(({ do: verbs }) => verbs.includes('watch'));
  const grounds = all.map(({ r, do: verbs }): Ground => {
    if (!r.endsWith('*')) return { room: r };
    const room = r === '*' ? `selftest/${name}` : `${r.slice(0, -1)}selftest-${name}`;
    if (verbs.includes('publish')) return { room, kind: 'selftest' };
    return verbs.includes('chat') ? { room, kind: 'message' } : { room };
  });
  return grounds.find(({ kind }) => kind === 'selftest') ?? grounds.find(({ kind }) => kind) ?? grounds[0];
}
