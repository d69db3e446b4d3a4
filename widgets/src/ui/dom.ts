// Elements from data. Text only ever becomes text nodes: nothing here parses HTML.

type Child = Node | string | number | null | undefined | false;
type Value = string | number | boolean | null | undefined | ((event: never) => void);

/**
 * Make an element. `on*` properties are listeners, `class` and the rest are attributes (`true` is
 * an empty attribute, `false`, null and undefined leave it out), and children become text or nodes.
 */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, Value> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") {
      element.addEventListener(name.slice(2), value as (event: Event) => void);
    } else setAttribute(element, name, value);
  }
  element.append(...present(children));
  return element;
}

export function setAttribute(element: Element, name: string, value: Exclude<Value, Function>): void {
  if (value === false || value === null || value === undefined) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : String(value));
}

export function present(children: Child[]): (Node | string)[] {
  return children
    .filter((child): child is Node | string | number => child !== null && child !== undefined && child !== false)
    .map((child) => (typeof child === "number" ? String(child) : child));
}

export function fill(element: Element, ...children: Child[]): void {
  element.replaceChildren(...present(children));
}

/** Run `task` once at the end of this turn however often it is asked for. */
export function debounce(task: () => void): () => void {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    queueMicrotask(() => {
      asked = false;
      task();
    });
  };
}
