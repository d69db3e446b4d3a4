// The list of contexts: a grid of rows of tokens, walked by keyboard, picked by row, brushed by token.

import { fill, h } from "../ui/dom";
import { number, plural, printable, spoken } from "../ui/format";
import { tokenContent } from "../ui/token";
import { div, dots, quiet, shade } from "./parts";
import { bounds, inStretch, key, valueOf, type Context, type Group, type Section, type Window } from "./data";

export interface ContextActions {
  pick(context: Context): void;
  brush(stretches: number[][]): void;
  clear(): void;
  hover(group: Group, context: Context, at: number, element: HTMLElement): void;
  leave(): void;
  all(group: Group): void;
}

export interface ContextState {
  sections: Section[];
  window: Window;
  /** The activation that the strongest colour stands for. */
  largest: number;
  gaps: boolean;
  picked: readonly string[];
  stretches: readonly (readonly number[])[];
  /** What to say where there is nothing to list. */
  nothing: string;
}

interface Row {
  group: Group;
  context: Context;
  first: number;
  element: HTMLElement;
  tokens: HTMLElement[];
}

export class ContextList {
  readonly element = h("div", {
    class: "wb-contexts",
    role: "grid",
    "aria-multiselectable": "true",
    "aria-label": "Contexts. Arrow keys move, Space picks the context, Shift and arrow keys brush tokens, Escape clears.",
    onpointerdown: (event: PointerEvent) => this.#down(event),
    onpointermove: (event: PointerEvent) => this.#drawn(event),
    onpointerover: (event: PointerEvent) => this.#hover(event),
    onfocusin: (event: FocusEvent) => {
      if ((event.target as HTMLElement).matches(":focus-visible")) this.#hover(event);
    },
    onpointerleave: () => this.#leave(),
    onfocusout: () => this.#leave(),
    onkeydown: (event: KeyboardEvent) => this.#key(event),
  });
  #rows: Row[] = [];
  #state: ContextState | null = null;
  #focus: [row: number, token: number] = [0, 0];
  #anchor = 0;
  #drag: { row: number; from: number; to: number; base: number[][]; before: readonly (readonly number[])[] } | null = null;

  readonly #actions: ContextActions;

  constructor(actions: ContextActions) {
    this.#actions = actions;
  }

  show(state: ContextState): void {
    this.#state = state;
    this.#rows = [];
    const hadFocus = this.element.contains(document.activeElement);
    const parts = state.sections.flatMap((section) => this.#section(section, state));
    this.element.classList.toggle("wb-gaps", state.gaps);
    fill(this.element, ...(parts.length ? parts : [div("wb-empty", state.nothing)]));
    if (!hadFocus || !this.#item()) this.#focus = [0, this.#peak(0)];
    this.#point();
    this.mark(state.picked, state.stretches);
    if (hadFocus) this.#item()?.focus({ preventScroll: true });
  }

  /** Show what is picked and brushed without drawing the rows again. */
  mark(picked: readonly string[], stretches: readonly (readonly number[])[]): void {
    if (this.#state) this.#state = { ...this.#state, picked, stretches };
    for (const { context, first, element, tokens } of this.#rows) {
      const chosen = picked.includes(key(context));
      element.classList.toggle("wb-picked", chosen);
      element.setAttribute("aria-selected", String(chosen));
      tokens.forEach((token, i) => {
        const on = inStretch(stretches, context.document, context.start + first + i);
        token.classList.toggle("wb-selected", on);
        token.setAttribute("aria-selected", String(on));
      });
    }
  }

  #section(section: Section, state: ContextState): Node[] {
    const { group } = section;
    const head = h(
      "div",
      { class: "wb-sub wb-ctx-head", role: "presentation" },
      dots(
        title(group),
        group.total !== null && group.kind !== "top" && plural(group.total, "token"),
        section.duplicates > 0 && `${plural(section.duplicates, "duplicate")} hidden`,
      ),
      section.more > 0 && quiet(`${section.more} more`, () => this.#actions.all(group), { "aria-label": `Show all of ${title(group)}` }),
    );
    const rows = section.contexts.map((context) => this.#row(group, context, state));
    if (!rows.length) rows.push(div("wb-muted wb-ctx-none", "none"));
    return [head, ...rows];
  }

  #row(group: Group, context: Context, state: ContextState): HTMLElement {
    const [first, last] = bounds(context, state.window);
    const index = this.#rows.length;
    const tokens: HTMLElement[] = [];
    const line = h("span", { class: "wb-ctx-tokens", role: "presentation" });
    const cut = (): HTMLElement => h("span", { class: "wb-muted", "aria-hidden": "true" }, "\u2026");
    if (first > 0) line.append(cut());
    for (let at = first; at < last; at += 1) {
      const token = context.tokens[at] ?? "";
      const value = context.values[at] ?? NaN;
      const item = h(
        "span",
        {
          class: `wb-tok${at === context.peak && group.kind !== "silent" ? " wb-peak" : ""}`,
          role: "gridcell",
          tabindex: -1,
          "data-row": index,
          "data-token": at - first,
          "aria-label": `${spoken(token)}, position ${context.start + at}, value ${number(value)}`,
        },
        ...tokenContent(token),
      );
      shade(item, value, state.largest);
      tokens.push(item);
      line.append(item);
      if (state.window === "whole" && token.includes("\n") && at < last - 1) line.append(h("br", {}));
    }
    if (last < context.tokens.length) line.append(cut());
    const value = valueOf(context);
    const element = h(
      "div",
      { class: "wb-ctx", role: "row", "data-index": index },
      h(
        "span",
        {
          class: "wb-num wb-ctx-value",
          role: "rowheader",
          title: `document ${context.document}, position ${context.start + context.peak}; click to pick`,
        },
        group.kind === "silent" && value === 0 ? "0" : number(value),
      ),
      line,
    );
    this.#rows.push({ group, context, first, element, tokens });
    return element;
  }

  #peak(row: number): number {
    const found = this.#rows[row];
    return found ? found.context.peak - found.first : 0;
  }

  #item(): HTMLElement | undefined {
    return this.#rows[this.#focus[0]]?.tokens[this.#focus[1]];
  }

  #point(): void {
    const item = this.#item();
    if (item) item.tabIndex = 0;
  }

  #move(row: number, token: number): void {
    const before = this.#item();
    if (before) before.tabIndex = -1;
    this.#focus = [row, token];
    this.#point();
    this.#item()?.focus();
  }

  #where(event: Event): [row: number, token: number] | null {
    const item = (event.target as HTMLElement).closest<HTMLElement>("[data-token]");
    return item ? [Number(item.dataset["row"]), Number(item.dataset["token"])] : null;
  }

  #stretch(row: number, from: number, to: number): number[] {
    const { context, first } = this.#rows[row] as Row;
    const base = context.start + first;
    return [context.document, base + Math.min(from, to), base + Math.max(from, to)];
  }

  #commit(stretches: number[][]): void {
    this.#actions.leave();
    this.mark(this.#state?.picked ?? [], stretches);
    this.#actions.brush(stretches);
  }

  #hover(event: Event): void {
    if (this.#drag) return;
    const where = this.#where(event);
    const row = where && this.#rows[where[0]];
    const item = where && row?.tokens[where[1]];
    if (row && item) this.#actions.hover(row.group, row.context, row.first + where[1], item);
    else this.#leave();
  }

  readonly #leave = (): void => this.#actions.leave();

  #down(event: PointerEvent): void {
    const where = this.#where(event);
    if (event.button !== 0) return;
    if (!where) {
      const row = (event.target as HTMLElement).closest<HTMLElement>(".wb-ctx");
      const found = row && this.#rows[Number(row.dataset["index"])];
      if (found) this.#actions.pick(found.context);
      return;
    }
    event.preventDefault(); // no text selection while brushing
    const [row, token] = where;
    const before = this.#focus;
    this.#move(row, token);
    if (event.shiftKey && before[0] === row) return this.#commit([this.#stretch(row, this.#anchor, token)]);
    this.#anchor = token;
    const present = this.#state?.stretches ?? [];
    const base = event.ctrlKey || event.metaKey ? present.map((s) => [...s]) : [];
    this.#drag = { row, from: token, to: token, base, before: present };
    document.addEventListener("pointerup", () => this.#up(), { once: true });
  }

  #drawn(event: PointerEvent): void {
    const where = this.#where(event);
    const drag = this.#drag;
    if (!drag || !where || where[0] !== drag.row || where[1] === drag.to) return;
    drag.to = where[1];
    this.mark(this.#state?.picked ?? [], [...drag.base, this.#stretch(drag.row, drag.from, drag.to)]);
  }

  #up(): void {
    const drag = this.#drag;
    this.#drag = null;
    if (!drag) return;
    const next = this.#stretch(drag.row, drag.from, drag.to);
    // A click on what alone is brushed takes the brush away.
    const again = drag.from === drag.to && drag.before.length === 1 && String(drag.before[0]) === String(next);
    this.#commit(again ? [] : [...drag.base, next]);
  }

  #key(event: KeyboardEvent): void {
    if (!this.#where(event)) return;
    const [row, token] = this.#focus;
    const found = this.#rows[row];
    if (!found) return;
    const lastRow = this.#rows.length - 1;
    const lastToken = found.tokens.length - 1;
    const across: Record<string, number> = { ArrowRight: token + 1, ArrowLeft: token - 1, Home: 0, End: lastToken };
    const down: Record<string, number> = { ArrowDown: row + 1, ArrowUp: row - 1, PageDown: row + 5, PageUp: row - 5 };
    const to = across[event.key];
    const line = down[event.key];
    if (to !== undefined) {
      const at = Math.min(lastToken, Math.max(0, to));
      this.#move(row, at);
      if (event.shiftKey) this.#commit([this.#stretch(row, this.#anchor, at)]);
      else this.#anchor = at;
    } else if (line !== undefined) {
      const next = Math.min(lastRow, Math.max(0, line));
      this.#move(next, this.#peak(next));
      this.#anchor = this.#focus[1];
    } else if (event.key === " " || event.key === "Enter") this.#actions.pick(found.context);
    else if (event.key === "Escape") this.#actions.clear();
    else return;
    event.preventDefault();
  }
}

/** Which contexts these are, said so that equal-width and equal-count intervals are not confused. */
export function title(group: Group): string {
  if (group.kind === "top") return "top, distinct documents";
  if (group.kind === "silent") return "does not fire";
  if (group.kind === "width") return `${printable(group.name)} (equal width)`;
  if (group.kind === "brush") return `brushed, activation ${number(group.low)} to ${number(group.high)}`;
  return printable(group.name);
}
