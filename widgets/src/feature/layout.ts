// What a feature's page says above its columns: its figures, and that they rest on little or nothing.

import { h } from "../ui/dom";
import { count, number, percent, plural } from "../ui/format";
import { compact, type Page } from "./data";
import { dots, quiet, span } from "./parts";

/** The feature's figures on one line; exactly, where the pointer rests. */
export function figures(page: Page): HTMLElement {
  const indexed = page.counted_tokens > 0;
  const stated = page.stated_density;
  const words = dots(
    indexed && `density ${percent(page.density)}`,
    stated !== null && `${percent(stated)} stated with the SAE`,
    indexed && `max ${number(page.maximum)}`,
    indexed && `mean ${number(page.mean)}`,
    indexed && `fires in ${compact(page.fires)} of ${compact(page.counted_tokens)} tokens`,
    `${page.architecture}, ${count(page.d_sae)} features`,
    page.out_site !== page.site && `${page.site} \u2192 ${page.out_site}`,
  );
  const exact = `Fires on ${count(page.fires)} of ${plural(page.counted_tokens, "counted token")}; max ${page.maximum}, mean ${page.mean}. BOS, EOS, padding and template are not counted.`;
  return h("span", { class: "wb-muted", title: exact }, words);
}

/** That the index is unfinished or missing; null where it is complete. */
export function partial(page: Page, refresh: (() => void) | null): HTMLElement | null {
  if (page.complete) return null;
  const indexed = page.counted_tokens > 0;
  return h(
    "div",
    { class: "wb-state wb-info wb-partial", role: "status" },
    h("b", {}, indexed ? "Partial" : "No index"),
    span(
      "wb-message",
      indexed
        ? `The index is still being built: these figures rest on the ${compact(page.counted_tokens)} tokens read so far.`
        : "This page holds what the weights say. Contexts and statistics come from a feature index; s.index(corpus) makes one.",
    ),
    refresh && quiet("Refresh", refresh),
  );
}
