/** Building a page's elements. Text goes in as text: nothing here reads markup. */

/** What an element is made with: its own properties, and a few that are written otherwise. */
export type Made<Tag extends keyof HTMLElementTagNameMap> = Partial<
  Omit<HTMLElementTagNameMap[Tag], 'style' | 'dataset'>
> & {
  class?: string;
  data?: Record<string, string>;
  /** Attributes that have no property of their own, such as `aria-…`. */
  attrs?: Record<string, string>;
  on?: Record<string, (event: Event) => void>;
};

/** A child: text, a node, or nothing. */
export type Child = Node | string | number | false | null | undefined;

/** Makes an element. */
export function el<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  made: Made<Tag> = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const { class: className, data, attrs, on, ...properties } = made;
  const element = document.createElement(tag);
  Object.assign(element, properties);
  if (className) element.className = className;
  Object.assign(element.dataset, data);
  for (const [name, value] of Object.entries(attrs ?? {})) element.setAttribute(name, value);
  for (const [type, act] of Object.entries(on ?? {})) element.addEventListener(type, act);
  for (const child of children) {
    if (child !== false && child != null) element.append(child instanceof Node ? child : `${child}`);
  }
  return element;
}

/** An element of the page by its id; of the given class, so that it can be used as such. */
export function at<Kind extends Element = HTMLElement>(id: string, kind?: new () => Kind): Kind {
  const found = document.getElementById(id);
  const wanted: new () => Element = kind ?? HTMLElement;
  if (!(found instanceof wanted)) throw new Error(`there is no ${wanted.name} #${id}`);
  return found as unknown as Kind;
}

/** The first element inside `parent` that matches; of the given class. */
export function within<Kind extends Element = HTMLElement>(
  parent: ParentNode,
  selector: string,
  kind?: new () => Kind,
): Kind {
  const found = parent.querySelector(selector);
  const wanted: new () => Element = kind ?? HTMLElement;
  if (!(found instanceof wanted)) throw new Error(`there is no ${wanted.name} ${selector}`);
  return found as unknown as Kind;
}

/** Writes a text only if it is another: screen readers and observers are left in peace. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
