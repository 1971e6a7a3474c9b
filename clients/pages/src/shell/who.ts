/** Who sits here: a name that is remembered, and a user id of this tab. */

const NAME = 'rallypoint-name';
const USER = 'rallypoint-user';

/** Reads from a store of the browser, which may be shut. */
function kept(store: () => Storage, key: string): string | null {
  try {
    return store().getItem(key);
  } catch {
    return null;
  }
}

function keep(store: () => Storage, key: string, value: string): void {
  try {
    store().setItem(key, value);
  } catch {
    // A browser that keeps nothing: everything works, and is forgotten.
  }
}

const random = (): number => crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;

/** The name that was used last, or ''. */
export const rememberedName = (): string => kept(() => localStorage, NAME) ?? '';

/** Keeps the name for the next visit. */
export const rememberName = (name: string): void => keep(() => localStorage, NAME, name);

const COLOURS = ['Amber', 'Azure', 'Coral', 'Hazel', 'Indigo', 'Jade', 'Olive', 'Rose', 'Sable', 'Teal'];
const ANIMALS = ['Badger', 'Crane', 'Falcon', 'Gecko', 'Heron', 'Lynx', 'Marten', 'Otter', 'Raven', 'Tern'];

/** A name for who has given none, such as "Jade Heron". */
export function guestName(): string {
  const number = random();
  return `${COLOURS[number % 10] ?? ''} ${ANIMALS[(number >>> 8) % 10] ?? ''}`;
}

let user: string | undefined;

/** A user id of this tab: it stays over a reload, so that the others see the same guest again. */
export function guestUser(): string {
  user ??= kept(() => sessionStorage, USER) ?? `guest-${random().toString(16)}`;
  keep(() => sessionStorage, USER, user);
  return user;
}
