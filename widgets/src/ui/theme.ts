// Light or dark, as the surrounding page is, and again whenever it changes.

export type Theme = "light" | "dark";

/** What the page around the view says, before the system's own preference. */
export function pageTheme(
  html: { dataset: DOMStringMap; classList: DOMTokenList; getAttribute(name: string): string | null },
  body: { dataset: DOMStringMap; classList: DOMTokenList },
): Theme | null {
  const chosen = html.dataset["wbTheme"]; // the exported page's own switch
  if (chosen === "light" || chosen === "dark") return chosen;
  const jupyter = body.dataset["jpThemeLight"];
  if (jupyter !== undefined) return jupyter === "false" ? "dark" : "light";
  // The light high-contrast theme also carries the class of the dark one.
  const classes: [Theme, string[]][] = [
    ["light", ["vscode-high-contrast-light"]],
    ["dark", ["vscode-dark", "vscode-high-contrast", "dark", "dark-theme"]],
    ["light", ["vscode-light", "light", "light-theme"]],
  ];
  for (const [theme, names] of classes) {
    if (names.some((name) => body.classList.contains(name) || html.classList.contains(name))) return theme;
  }
  const attribute = html.getAttribute("theme") ?? html.dataset["theme"] ?? body.dataset["theme"]; // Colab, marimo, Sphinx
  if (attribute === "dark" || attribute === "light") return attribute;
  return null;
}

export function followTheme(root: HTMLElement): () => void {
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = (): void => {
    root.dataset["wbTheme"] =
      pageTheme(document.documentElement, document.body) ?? (system.matches ? "dark" : "light");
  };
  const observer = new MutationObserver(apply);
  const options = { attributes: true, attributeFilter: ["class", "theme", "data-theme", "data-wb-theme", "data-jp-theme-light"] };
  observer.observe(document.documentElement, options);
  observer.observe(document.body, options);
  system.addEventListener("change", apply);
  apply();
  return () => {
    observer.disconnect();
    system.removeEventListener("change", apply);
  };
}
