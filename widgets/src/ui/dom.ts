// Elements from data. Text only ever becomes text nodes: nothing here parses HTML.

type Child = Node | string | number | null | undefined | false;
type Value = string | number | boolean | null | undefined | ((event: never) => void);

/**
 * Make an element; a button is one that submits nothing unless it says so. `on*` properties are listeners, `class` and the rest are attributes (`true` is
 * an empty attribute, `false`, null and undefined leave it out), and children become text or nodes.
 */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, Value> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (tag === "button") setAttribute(element, "type", tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") {
      element.addEventListener(name.slice(2), value as (event: Event) => void);
    } else setAttribute(element, name, value);
  }
  element.append(...present(children));
  return element;
}

export function div(className: string, ...children: Child[]): HTMLElement {
  return h("div", { class: className }, ...children);
}

export function span(className: string, ...children: Child[]): HTMLElement {
  return h("span", { class: className }, ...children);
}

export function quiet(words: string, onclick: () => void, more: Record<string, string | boolean | null> = {}): HTMLButtonElement {
  return h("button", { class: "wb-quiet", onclick, ...more }, words);
}

/** Facts by name; those that are none are left out. */
export function facts(...rows: ([string, Node | string] | null | false)[]): HTMLElement {
  return h("dl", { class: "wb-facts" }, ...rows.flatMap((row) => (row ? [h("dt", {}, row[0]), h("dd", {}, row[1])] : [])));
}

/** The choices of a select, each with its words. */
export function options(select: HTMLSelectElement, choices: readonly (readonly [string, string])[]): void {
  fill(select, ...choices.map(([value, words]) => h("option", { value }, words)));
}

/** What there is to say, with dots between. */
export function dots(...words: (string | false | null | undefined)[]): string {
  return words.filter(Boolean).join(" \u00b7 ");
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
