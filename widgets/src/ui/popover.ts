// One floating card per view, for what a token, a row or a badge has to say. It lives in the
// browser's top layer, so that no cell or output area cuts it off.

import { fill, h } from "./dom";

type Content = (Node | string)[];

export class Popover {
  readonly element: HTMLElement;
  #anchor: HTMLElement | null = null;
  #pinned = false;

  constructor(parent: HTMLElement, id: string) {
    this.element = h("div", { class: "wb-card", id, role: "tooltip", popover: "manual" });
    parent.append(this.element);
  }

  get anchoredTo(): HTMLElement | null {
    return this.#anchor;
  }

  /** Show `content` beside `anchor`; a pinned card stays until it is hidden by name. */
  show(anchor: HTMLElement, content: Content, pinned = false): void {
    if (this.#pinned && !pinned && this.#anchor !== anchor) return;
    this.#anchor = anchor;
    this.#pinned = pinned;
    fill(this.element, ...content);
    this.element.classList.toggle("wb-pinned", pinned);
    anchor.setAttribute("aria-describedby", this.element.id);
    if (!this.element.matches(":popover-open")) this.element.showPopover?.();
    this.#place(anchor);
  }

  hide(force = false): void {
    if (!this.#anchor || (this.#pinned && !force)) return;
    this.#anchor.removeAttribute("aria-describedby");
    this.#anchor = null;
    this.#pinned = false;
    if (this.element.matches(":popover-open")) this.element.hidePopover();
  }

  #place(anchor: HTMLElement): void {
    const box = anchor.getBoundingClientRect();
    const card = this.element.getBoundingClientRect();
    const margin = 4;
    const left = Math.max(margin, Math.min(box.left, window.innerWidth - card.width - margin));
    const below = box.bottom + margin;
    const fits = below + card.height <= window.innerHeight - margin;
    const top = fits ? below : Math.max(margin, box.top - card.height - margin);
    this.element.style.left = `${Math.round(left)}px`;
    this.element.style.top = `${Math.round(top)}px`;
  }
}
